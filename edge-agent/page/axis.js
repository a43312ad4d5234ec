/** The values at which an axis is marked: round ones, evenly from 0 to the first at or above `most`. */
export function ticks(most, parts) {
  const step = roundUp((most > 0 ? most : 1) / parts);
  // A little less than a tick's value is as good as that, since arithmetic is not exact.
  const count = Math.ceil(most / step - 1e-6) || parts;
  return Array.from({ length: count + 1 }, (_, index) => index * step);
}

/** The least of 1, 2, 2.5 and 5 times a power of ten that is not below a value. */
function roundUp(value) {
  const power = 10 ** Math.floor(Math.log10(value));
  return power * [1, 2, 2.5, 5, 10].find((step) => step * power >= value * (1 - 1e-6));
}
