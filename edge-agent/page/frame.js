/**
 * A function that has `draw` called in a frame soon, once however often it is called until then, and not again within
 * `apart` milliseconds: nobody reads what changes faster.
 */
export function oncePerFrame(draw, apart = 0) {
  let frame = 0;
  let timer = 0;
  let drawn = -Infinity;
  const inFrame = () => {
    timer = 0;
    frame = requestAnimationFrame(() => {
      frame = 0;
      drawn = performance.now();
      draw();
    });
  };
  const ask = () => {
    if (frame || timer) return;
    const left = drawn + apart - performance.now();
    if (left > 0) timer = setTimeout(inFrame, left);
    else inFrame();
  };
  ask.cancel = () => {
    cancelAnimationFrame(frame);
    clearTimeout(timer);
    frame = timer = 0;
  };
  return ask;
}
