/** Has screen readers say something when they have said the rest. */
export function announce(text) {
  const status = document.getElementById("status");
  // The same words twice are no change, which would not be said.
  status.textContent = status.textContent === text ? `${text}\u00a0` : text;
}
