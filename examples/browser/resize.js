// Resizing as litepred's predictor does it: the same size, and Pillow's bilinear pixels, which are smoothed in shrinking.

const BITS = 22; // after the binary point of a weight: 32 less 8 of a pixel and 2 to spare, as Pillow has them

// Return [height, width] for the network: the short edge as asked, unless the long one would exceed its limit.
export function networkSize(height, width, shortEdge, longEdgeAtMost) {
  if (!shortEdge) return [height, width];
  let scale = shortEdge / Math.min(height, width);
  let [h, w] = height < width ? [shortEdge, scale * width] : [scale * height, shortEdge];
  if (Math.max(h, w) > longEdgeAtMost) {
    scale = longEdgeAtMost / Math.max(h, w);
    [h, w] = [h * scale, w * scale];
  }
  return [Math.max(1, Math.floor(h + 0.5)), Math.max(1, Math.floor(w + 0.5))];
}

// For each new pixel: the first old one that it is made of, how many there are, and their weights as whole numbers.
function triangles(from, to) {
  const scale = from / to;
  const support = Math.max(scale, 1);
  const most = Math.ceil(support) * 2 + 1;
  const first = new Int32Array(to);
  const count = new Int32Array(to);
  const weights = new Int32Array(to * most);
  for (let i = 0; i < to; i++) {
    const centre = (i + 0.5) * scale;
    first[i] = Math.max(0, Math.trunc(centre - support + 0.5));
    count[i] = Math.min(from, Math.trunc(centre + support + 0.5)) - first[i];
    const row = Array.from({ length: count[i] }, (_, k) =>
      Math.max(0, 1 - Math.abs((k + first[i] - centre + 0.5) * (1 / support))),
    );
    const sum = row.reduce((a, b) => a + b, 0);
    row.forEach((w, k) => (weights[i * most + k] = Math.trunc(0.5 + (w / sum) * 2 ** BITS)));
  }
  return { first, count, weights, most };
}

// Resize along one axis. Of each old pixel three bytes are taken, a fourth is dropped; steps are in bytes.
function pass(source, to, from, lines, { step, lineStep, outStep, outLineStep }) {
  const { first, count, weights, most } = triangles(from, to);
  const target = new Uint8ClampedArray(to * lines * 3);
  for (let line = 0; line < lines; line++) {
    for (let i = 0; i < to; i++) {
      let r = 1 << (BITS - 1);
      let g = r;
      let b = r;
      let at = line * lineStep + first[i] * step;
      for (let k = i * most, end = k + count[i]; k < end; k++, at += step) {
        const w = weights[k];
        r += source[at] * w;
        g += source[at + 1] * w;
        b += source[at + 2] * w;
      }
      const out = line * outLineStep + i * outStep;
      target[out] = r >> BITS;
      target[out + 1] = g >> BITS;
      target[out + 2] = b >> BITS;
    }
  }
  return target;
}

// Resize RGBA pixels, as a canvas gives them, to RGB ones: first every row, then every column, whole bytes in between.
export function resize(rgba, height, width, newHeight, newWidth) {
  const rows = pass(rgba, newWidth, width, height, {
    step: 4,
    lineStep: width * 4,
    outStep: 3,
    outLineStep: newWidth * 3,
  });
  if (newHeight === height) return rows;
  return pass(rows, newHeight, height, newWidth, {
    step: newWidth * 3,
    lineStep: 3,
    outStep: newWidth * 3,
    outLineStep: 3,
  });
}

// Take RGB pixels apart into the planes (3, height, width) that the network wants, in the order "BGR" or "RGB".
export function planes(rgb, order) {
  const size = rgb.length / 3;
  const target = new Uint8Array(rgb.length);
  [...order].forEach((letter, plane) => {
    const channel = "RGB".indexOf(letter);
    for (let i = 0; i < size; i++) target[plane * size + i] = rgb[i * 3 + channel];
  });
  return target;
}
