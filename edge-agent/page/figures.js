/** Figures as a person reads them: a number and its unit. */

const plain = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });

/** A count with its thousands parted. */
export function count(number) {
  return plain.format(number);
}

/** A count and its noun: `1 step`, `1,200 steps`. */
export function counted(number, noun) {
  return `${count(number)} ${noun}${number === 1 ? "" : "s"}`;
}

/** A duration. */
export function time(seconds) {
  if (!isFigure(seconds)) return "–";
  if (seconds >= 10) return `${seconds.toFixed(1)} s`;
  if (seconds >= 1) return `${seconds.toFixed(2)} s`;
  const milliseconds = seconds * 1e3;
  return `${milliseconds.toFixed(milliseconds >= 100 ? 0 : milliseconds >= 10 ? 1 : 2)} ms`;
}

/** A duration in milliseconds, without its unit. */
export function milliseconds(seconds) {
  if (!isFigure(seconds)) return "–";
  return seconds >= 0.1 ? count(seconds * 1e3) : (seconds * 1e3).toFixed(1);
}

/** Bytes on the wire. */
export function bytes(number) {
  if (!isFigure(number)) return "–";
  if (number >= 1e6) return `${(number / 1e6).toFixed(number >= 1e7 ? 1 : 2)} MB`;
  if (number >= 1e3) return `${(number / 1e3).toFixed(1)} kB`;
  return `${number.toFixed(0)} B`;
}

/** A size in memory. */
export function memory(number) {
  if (!isFigure(number)) return "–";
  const gibibytes = number / 2 ** 30;
  if (gibibytes >= 1) return `${gibibytes.toFixed(gibibytes >= 10 ? 0 : 1)} GiB`;
  return `${(gibibytes * 1024).toFixed(0)} MiB`;
}

/** A link's rate. The server sends null for one that is too high to measure. */
export function rate(bytesPerSecond) {
  if (!isFigure(bytesPerSecond)) return "too high to measure";
  const megabits = bytesPerSecond * 8e-6;
  return `${megabits.toFixed(megabits >= 10 ? 0 : 2)} Mbit/s`;
}

/** A divergence in nats; `≤` marks one that is an upper bound. */
export function divergence(nats, isBound) {
  if (!isFigure(nats)) return "–";
  return `${isBound ? "≤" : ""}${nats === 0 ? "0" : nats.toExponential(1)}`;
}

/** How much more or less than `base` a value is: `+12%`. */
export function difference(value, base) {
  const percent = Math.round((value / base - 1) * 100);
  if (!Number.isFinite(percent)) return "–";
  return percent === 0 ? "±0%" : `${percent > 0 ? "+" : "−"}${count(Math.abs(percent))}%`;
}

/** A share of one, in percent. */
export function share(part, whole) {
  return whole > 0 ? `${Math.round((part / whole) * 100)}%` : "–";
}

/** Digits that fit a ratio: `4.4`, `12`. */
export function ratio(number) {
  if (!isFigure(number)) return "–";
  return number.toFixed(number >= 100 ? 0 : number >= 10 ? 1 : 2);
}

function isFigure(number) {
  return typeof number === "number" && Number.isFinite(number);
}
