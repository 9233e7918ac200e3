// The worker that runs the model, so that the page stays alive: pixels of an image come in, what is on it goes out.

import { readMetadata } from "./metadata.js";
import { networkSize, planes, resize } from "./resize.js";

const MODEL = "page.onnx";
const RUNTIME = "./node_modules/onnxruntime-web/dist/";
const ENGINES = { webgpu: "ort.webgpu.bundle.min.mjs", wasm: "ort.wasm.bundle.min.mjs" };

const wanted = new URL(self.location.href).searchParams.get("engine");
let loading = null;
let last = Promise.resolve();

async function fetchModel() {
  const answer = await fetch(MODEL);
  if (!answer.ok) {
    throw new Error(`There is no ${MODEL} beside this page (${answer.status}): make it with litepred export ${MODEL}`);
  }
  const bytes = new Uint8Array(await answer.arrayBuffer());
  let texts;
  try {
    texts = readMetadata(bytes);
  } catch (error) {
    throw new Error(`${MODEL} cannot be read, ${error.message}: make it anew with litepred export ${MODEL}`);
  }
  if (!texts["litepred.resizing"]) {
    throw new Error(`${MODEL} does not say how it wants its images: make it with litepred export ${MODEL}`);
  }
  return {
    bytes,
    resizing: JSON.parse(texts["litepred.resizing"]),
    names: JSON.parse(texts["litepred.class_names"] ?? "[]"),
  };
}

async function startEngine(engine, model) {
  let ort;
  try {
    ort = await import(RUNTIME + ENGINES[engine]);
  } catch (error) {
    throw new Error(`ONNX Runtime could not be loaded: run npm install onnxruntime-web in this folder (${error.message})`);
  }
  ort.env.logLevel = "error";
  const session = await ort.InferenceSession.create(model.bytes, { executionProviders: [engine], logSeverityLevel: 3 });
  const run = async (pixels, height, width) => {
    const found = await session.run({ image: new ort.Tensor("uint8", pixels, [3, height, width]) });
    const named = {};
    for (const name of ["boxes", "scores", "classes", "masks"]) {
      if (found[name]) named[name] = { data: await found[name].getData(), dims: found[name].dims };
    }
    return named;
  };
  return { engine, run };
}

// The model with an engine that runs it: WebGPU where there is one and it can, else WebAssembly.
async function load() {
  const model = await fetchModel();
  if (wanted !== "wasm" && (await self.navigator.gpu?.requestAdapter().catch(() => null))) {
    try {
      return { ...model, ...(await startEngine("webgpu", model)) };
    } catch (error) {
      console.warn("WebGPU cannot load the model, so WebAssembly does:", error);
    }
  }
  return { ...model, ...(await startEngine("wasm", model)) };
}

// Run the model; where a GPU fails, which may show with one image only, WebAssembly takes over for good.
async function run(model, pixels, height, width) {
  try {
    return await model.run(pixels, height, width);
  } catch (error) {
    if (model.engine === "wasm") throw error;
    console.warn("WebGPU cannot run the model, so WebAssembly does:", error);
    Object.assign(model, await startEngine("wasm", model));
    return model.run(pixels, height, width);
  }
}

// Find what is in RGBA pixels; boxes come in pixels of the image, clipped to it, and empty ones are left out.
async function predict({ rgba, height, width }) {
  loading ??= load();
  let model;
  try {
    model = await loading;
  } catch (error) {
    loading = null; // so that the next image tries again
    throw error;
  }
  const { short_edge, long_edge_at_most, channels } = model.resizing;
  const [netHeight, netWidth] = networkSize(height, width, short_edge, long_edge_at_most);
  const pixels = planes(resize(rgba, height, width, netHeight, netWidth), channels);
  const { boxes, scores, classes, masks } = await run(model, pixels, netHeight, netWidth);
  if (!boxes || !scores || !classes) {
    throw new Error(`${MODEL} returns no boxes, scores and classes: expected a model that finds instances`);
  }
  const limits = [width, height, width, height];
  const scales = [width / netWidth, height / netHeight, width / netWidth, height / netHeight];
  const cells = masks ? masks.dims[1] * masks.dims[2] : 0;
  return Array.from(scores.data, (score, i) => {
    const label = Number(classes.data[i]);
    return {
      name: model.names[label] ?? `class ${label}`,
      label,
      score,
      box: limits.map((limit, k) => Math.min(limit, Math.max(0, boxes.data[i * 4 + k] * scales[k]))),
      mask: masks ? masks.data.slice(i * cells, (i + 1) * cells) : null,
      maskSize: masks ? masks.dims[1] : 0,
    };
  }).filter(({ box: [x0, y0, x1, y1] }) => x1 > x0 && y1 > y0);
}

self.onmessage = ({ data }) => {
  last = last.then(async () => {
    try {
      const start = performance.now();
      const instances = await predict(data);
      const { engine } = await loading;
      self.postMessage({ id: data.id, instances, engine, seconds: (performance.now() - start) / 1000 });
    } catch (error) {
      self.postMessage({ id: data.id, error: String(error?.message ?? error) });
    }
  });
};
