"""The look of things: colours and signs, light and dark pages, payloads and numbers as text."""
