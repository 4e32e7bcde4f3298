// The value under the pointer in a map of values: read from its pixel, whose hue is the sign and whose opacity the size.
(() => {
  if (window.altubCharts) return;
  window.altubCharts = true;
  const pixels = new WeakMap();
  const read = (image) => {
    if (pixels.get(image)?.src !== image.src) {
      const canvas = document.createElement('canvas');
      [canvas.width, canvas.height] = [image.naturalWidth, image.naturalHeight];
      const context = canvas.getContext('2d', {willReadFrequently: true});
      context.drawImage(image, 0, 0);
      pixels.set(image, {src: image.src, canvas, context});
    }
    return pixels.get(image);
  };
  addEventListener('pointermove', (event) => {
    const image = event.target.closest?.('.value-map img');
    document.querySelectorAll('.value-map output').forEach((output) => {
      if (output.previousElementSibling !== image) output.textContent = '';
    });
    if (!image?.naturalWidth) return;
    const {canvas, context} = read(image);
    const frame = image.getBoundingClientRect();
    const at = (share, count) => Math.min(Math.max(Math.floor(share * count), 0), count - 1);
    const column = at((event.clientX - frame.left) / frame.width, canvas.width);
    const row = at((event.clientY - frame.top) / frame.height, canvas.height);
    const [red, , blue, opacity] = context.getImageData(column, row, 1, 1).data;
    const {limit, epochs, rows, row: name} = image.dataset;
    const value = (opacity / 255) * limit * (red < blue ? -1 : 1);
    const beyond = opacity === 255 ? (value < 0 ? '≤ ' : '≥ ') : '';
    const output = image.nextElementSibling;
    output.textContent = `epoch ${epochs.split(',')[column]} · ${name} ${rows.split(',')[row]} · ` +
      `${beyond}${value.toPrecision(2)}`;
    const share = (event.clientX - frame.left) / frame.width;
    output.style.left = share < 0.5 ? `${100 * share}%` : 'auto';
    output.style.right = share < 0.5 ? 'auto' : `${100 - 100 * share}%`;
    output.style.top = `${Math.min(event.clientY - frame.top, frame.height - 28)}px`;
  }, {capture: true, passive: true});
})();
