// How large the cards of one place are drawn: as large as the room allows, and no larger while anything moves.

// Cards with the beginning of their payload; with id, priority and marks; with id and marks. Then small ones on a
// canvas, whose size says how far apart they stand.
const WIDE = 0, PLAIN = 1, TIGHT = 2, FIRST_SMALL = 3;
const PITCHES = [24, 16, 12];
const GAPS = [4, 4, 2];
const HEIGHTS = [24, 24, 22];
const LANE_EXTRA = 34; // pixels of a lane that are not for cards
const MOST = 540; // pixels for the cards of all lanes together, if they need it
const CROWD = 60; // more cards than this in one place get a wide column
const GROWS = [true, true, false, true, true, false];
const CALM = 24; // no more cards than this get more room than there always is
const SHARES = [2.2, 1.5, 2, 1, 1, 1]; // of the width, by column: the same however full they are
const CROWD_SHARE = 5;

// The widths of a card at each size, given how many digits the ids have, and whether any card has a mark beside it.
const cardWidths = (digits, marks) => [
  168,
  Math.max(88, 50 + 7.5 * (digits + 1) + (marks ? 54 : 0)),
  22 + 6.5 * (digits + 1) + (marks ? 24 : 0),
];

// The room for cards in a lane, in pixels: always there, and at most when they need it.
function rooms(lanes, narrow) {
  const always = narrow ? 48 : lanes < 3 ? 132 : lanes < 5 ? 106 : lanes < 8 ? 82 : 52;
  return [always, Math.max(always, narrow ? 132 : Math.floor(MOST / Math.max(1, lanes)) - LANE_EXTRA)];
}

const across = (width, wide, gap) => Math.max(1, Math.floor((width + gap) / (wide + gap)));

// The largest size at which so many cards fit, and whether they get more room than there always is. What has come to
// a good end does not: of that the last are shown.
function fitting(count, width, widths, [always, most], grows) {
  const fits = (size, room) => {
    if (size >= FIRST_SMALL) {
      const pitch = PITCHES[size - FIRST_SMALL];
      return across(width, pitch, 0) * Math.floor((room + 2) / pitch) >= count;
    }
    const rows = Math.floor((room + GAPS[size]) / (HEIGHTS[size] + GAPS[size]));
    return across(width, widths[size], GAPS[size]) * rows >= count;
  };
  const smallest = FIRST_SMALL + PITCHES.length - 1;
  const first = [WIDE, PLAIN, TIGHT].find((size) => fits(size, always));
  if (first !== undefined) return { size: first, more: false };
  const room = grows ? most : always;
  for (let size = TIGHT; size < smallest; size += 1) if (fits(size, room)) return { size, more: grows };
  return { size: smallest, more: grows };
}

// How many cards of the smallest size fit into the room that there always is.
const lastShown = (width, [always]) => across(width, PITCHES.at(-1), 0) * Math.floor((always + 2) / PITCHES.at(-1));
