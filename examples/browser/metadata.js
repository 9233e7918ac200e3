// What litepred export wrote into an ONNX file beside the network. ONNX Runtime for browsers does not hand it out.

const METADATA_PROPS = 14; // the number of this field in ONNX's ModelProto

// Yield the fields of one protobuf message: their numbers, and their bytes where they have a length.
function* fields(bytes) {
  let at = 0;
  const number = () => {
    let value = 0;
    for (let factor = 1; ; factor *= 128) {
      if (at >= bytes.length || factor > 2 ** 63) throw new Error("it is damaged");
      const byte = bytes[at++];
      value += (byte & 127) * factor;
      if (byte < 128) return value;
    }
  };
  while (at < bytes.length) {
    const key = number();
    const kind = key % 8;
    let content = null;
    if (kind === 0) number();
    else if (kind === 1) at += 8;
    else if (kind === 5) at += 4;
    else if (kind === 2) {
      const length = number();
      content = bytes.subarray(at, at + length);
      at += length;
    } else throw new Error("it is no ONNX file");
    if (at > bytes.length) throw new Error("it is cut short");
    yield [Math.floor(key / 8), content];
  }
}

// Return the texts of an ONNX file by their keys.
export function readMetadata(bytes) {
  const decoder = new TextDecoder();
  const texts = {};
  for (const [number, content] of fields(bytes)) {
    if (number !== METADATA_PROPS) continue;
    const [key, value] = [...fields(content)].map(([, text]) => decoder.decode(text));
    texts[key] = value ?? "";
  }
  return texts;
}
