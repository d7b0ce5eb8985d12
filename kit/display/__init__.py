"""How things look: colours and signs, light and dark pages, payloads and numbers as text."""
