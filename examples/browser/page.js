// The page: takes an image, asks the worker in model.js what is on it, and shows the answer as a picture and a table.

const MOST_PIXELS = 64_000_000; // of an image, four bytes each
const LONGEST_SHOWN = 1800; // edge of the picture in pixels; a larger image is drawn smaller
const ENGINE_NAMES = { webgpu: "WebGPU", wasm: "WebAssembly" };

const $ = (id) => document.getElementById(id);
const worker = new Worker(`model.js${location.search}`, { type: "module" });
let asked = 0; // how many images were chosen: an answer to an older one is not shown
let current = null; // { bitmap, instances, name }

function tell(status, error = "") {
  $("status").textContent = status;
  $("error").textContent = error;
}

const colour = (label, alpha = 1) => `hsl(${(label * 137.5 + 215) % 360} 85% 33% / ${alpha})`;

async function open(file) {
  const id = ++asked;
  tell(`Opening ${file.name} …`);
  $("result").hidden = true;
  let bitmap;
  try {
    bitmap = await createImageBitmap(file, { colorSpaceConversion: "none", imageOrientation: "from-image" });
  } catch {
    if (id !== asked) return;
    tell("", `${file.name} is no image that this browser can read: choose a PNG, JPEG or WebP file.`);
    return;
  }
  if (id !== asked) return;
  const { width, height } = bitmap;
  if (width * height > MOST_PIXELS) {
    tell("", `${file.name} has ${width} × ${height} pixels, at most 64 million are taken: make it smaller first.`);
    return;
  }
  let rgba;
  try {
    const canvas = new OffscreenCanvas(width, height);
    const context = canvas.getContext("2d", { willReadFrequently: true });
    context.fillStyle = "white"; // where the image is transparent
    context.fillRect(0, 0, width, height);
    context.drawImage(bitmap, 0, 0);
    rgba = context.getImageData(0, 0, width, height).data;
  } catch (error) {
    tell("", `${file.name} has ${width} × ${height} pixels, too many for this browser: make it smaller. (${error.message})`);
    return;
  }
  current = { bitmap, name: file.name, instances: [] };
  tell("Looking at it. The first image takes longer, because the model is loaded …");
  worker.postMessage({ id, rgba, height, width }, [rgba.buffer]);
}

worker.onmessage = ({ data }) => {
  if (data.id !== asked) return;
  if (data.error) {
    tell("", data.error);
    return;
  }
  current.instances = data.instances;
  $("result").hidden = false;
  show();
  tell(`${current.name}: done in ${data.seconds.toFixed(1)} s by ${ENGINE_NAMES[data.engine]}. ${summary()}`);
};
worker.onerror = (event) => {
  event.preventDefault();
  tell("", `The model's program stopped: ${event.message ?? "this browser cannot start it"}. Load this page again.`);
};

const shown = () => current.instances.filter(({ score }) => score >= Number($("least").value) / 100);

function summary() {
  const counts = new Map();
  for (const { name } of shown()) counts.set(name, (counts.get(name) ?? 0) + 1);
  const parts = [...counts].map(([name, count]) => `${count} × ${name}`);
  return parts.length ? `Found: ${parts.join(", ")}.` : "Nothing found with this score.";
}

function show() {
  $("least-shown").textContent = `${$("least").value} %`;
  draw();
  $("picture").setAttribute("aria-label", `${current.name} with what was found outlined. ${summary()}`);
  $("table-caption").textContent = `${summary()} Positions are in pixels of the image.`;
  $("rows").replaceChildren(
    ...shown().map(({ name, label, score, box }) => {
      const row = document.createElement("tr");
      const head = document.createElement("th");
      head.scope = "row";
      head.textContent = name;
      head.style.setProperty("--colour", colour(label));
      row.append(head);
      for (const text of [`${(score * 100).toFixed(0)} %`, ...box.map((edge) => edge.toFixed(1))]) {
        row.insertCell().textContent = text;
      }
      return row;
    }),
  );
}

function draw() {
  const { bitmap } = current;
  const scale = Math.min(1, LONGEST_SHOWN / Math.max(bitmap.width, bitmap.height));
  const canvas = $("picture");
  canvas.width = Math.max(1, Math.round(bitmap.width * scale));
  canvas.height = Math.max(1, Math.round(bitmap.height * scale));
  const context = canvas.getContext("2d");
  context.fillStyle = "white";
  context.fillRect(0, 0, canvas.width, canvas.height);
  context.imageSmoothingQuality = "high";
  context.drawImage(bitmap, 0, 0, canvas.width, canvas.height);
  const unit = Math.max(canvas.width, 600) / 600; // so that lines and letters can be seen where the picture is scaled
  const found = shown().map((one) => ({ ...one, box: one.box.map((edge) => edge * scale) }));
  for (const one of found) if (one.mask) drawMask(context, one);
  for (const { label, box: [x0, y0, x1, y1] } of found) {
    context.strokeStyle = colour(label);
    context.lineWidth = 2 * unit;
    context.strokeRect(x0, y0, x1 - x0, y1 - y0);
  }
  context.font = `600 ${10 * unit}px system-ui, sans-serif`;
  context.textBaseline = "middle";
  for (const { name, score, label, box: [, y0, x1] } of found) {
    const text = `${name} ${(score * 100).toFixed(0)}%`;
    const width = context.measureText(text).width + 6 * unit;
    const height = 13 * unit;
    const left = Math.max(0, x1 - width); // at the right, where lines of text end first
    const top = Math.max(0, y0 - height);
    context.fillStyle = colour(label, 0.9);
    context.fillRect(left, top, width, height);
    context.fillStyle = "white";
    context.fillText(text, left + 3 * unit, top + height / 2);
  }
}

// Tint the pixels in whose middle the mask, stretched over its box, is at least a half.
function drawMask(context, { mask, maskSize, box: [left, top, right, bottom], label }) {
  const x0 = Math.max(0, Math.floor(left) - 1);
  const y0 = Math.max(0, Math.floor(top) - 1);
  const width = Math.min(context.canvas.width, Math.ceil(right) + 1) - x0;
  const height = Math.min(context.canvas.height, Math.ceil(bottom) + 1) - y0;
  const value = (row, column) =>
    row < 0 || column < 0 || row >= maskSize || column >= maskSize ? 0 : mask[row * maskSize + column];
  const layer = new OffscreenCanvas(width, height);
  const paint = layer.getContext("2d");
  paint.fillStyle = colour(label, 0.3);
  paint.fillRect(0, 0, width, height);
  const tint = paint.getImageData(0, 0, width, height);
  for (let y = 0; y < height; y++) {
    const v = ((y0 + y + 0.5 - top) / (bottom - top)) * maskSize - 0.5;
    const row = Math.floor(v);
    for (let x = 0; x < width; x++) {
      const u = ((x0 + x + 0.5 - left) / (right - left)) * maskSize - 0.5;
      const column = Math.floor(u);
      const upper = value(row, column) * (column + 1 - u) + value(row, column + 1) * (u - column);
      const lower = value(row + 1, column) * (column + 1 - u) + value(row + 1, column + 1) * (u - column);
      if (upper * (row + 1 - v) + lower * (v - row) < 0.5) tint.data[(y * width + x) * 4 + 3] = 0;
    }
  }
  paint.putImageData(tint, 0, 0);
  context.drawImage(layer, x0, y0);
}

$("file").addEventListener("click", () => ($("file").value = "")); // so that the same file can be chosen again
$("file").addEventListener("change", () => {
  const [file] = $("file").files;
  if (file) open(file);
});
$("least").addEventListener("input", show);
addEventListener("dragover", (event) => {
  event.preventDefault();
  $("drop").classList.add("over");
});
addEventListener("dragleave", (event) => {
  if (!event.relatedTarget) $("drop").classList.remove("over");
});
addEventListener("drop", (event) => {
  event.preventDefault();
  $("drop").classList.remove("over");
  const [file] = event.dataTransfer.files;
  if (file) open(file);
  else tell("", "What was dropped is no file: choose an image from this machine.");
});
