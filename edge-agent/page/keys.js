/**
 * Whether a key that was pressed in a text field sends it: Enter alone, and not to choose what an input method offers.
 */
export function sendsByEnter(event) {
  const isComposing = event.isComposing || event.keyCode === 229;
  return event.key === "Enter" && !event.shiftKey && !event.ctrlKey && !event.altKey && !event.metaKey && !isComposing;
}
