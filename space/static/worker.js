// Runs the model beside the page, with onnxruntime-web (WebAssembly): one sound at a time, in the order of messages.
import * as ort from "./ort/ort.js";
import {Spotting} from "./spotting.js";

ort.env.wasm.numThreads = 1; // threads need headers that not every static server sends
ort.env.wasm.wasmPaths = {wasm: new URL("ort/ort.wasm", import.meta.url).href};

const opened = (async () => {
  const known = await (await fetch(new URL("model.json", import.meta.url))).json();
  const session = await ort.InferenceSession.create(new URL("model.onnx", import.meta.url).href);
  const run = async (windows, n) => {
    const waveform = new ort.Tensor("float32", windows, [n, known.clip_length]);
    return (await session.run({waveform})).posteriors.data;
  };
  await run(new Float32Array(known.clip_length), 1); // the first run prepares
  return {known, run};
})();

let spotting;

const answers = {
  async open() {
    return {known: (await opened).known};
  },
  async start() {
    const {known, run} = await opened;
    spotting = new Spotting(run, known);
    return {words: spotting.words, step_s: spotting.stepS};
  },
  async feed({samples, threshold}) {
    spotting.detector.threshold = threshold;
    return spotting.feed(Float32Array.from(samples, (sample) => sample / 32768));
  },
  finish: () => spotting.finish(),
};

let before = Promise.resolve();
onmessage = ({data: {id, ask, ...given}}) => {
  before = before.then(async () => {
    try {
      postMessage({id, answer: await answers[ask](given)});
    } catch (error) {
      postMessage({id, error: error.message});
    }
  });
};
