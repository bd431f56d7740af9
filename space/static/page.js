// The demo: microphone or file -> worker.js -> scope.js. Nothing leaves the browser.
import {Scope, closeMicrophone, openMicrophone} from "./scope.js";

const find = (id) => document.getElementById(id);
const RATE = 16000; // Hz, of the model
const BLOCK_S = 1; // of a file
const MOST_WAITING = 40; // messages of the microphone: 5 s
const worker = new Worker(new URL("worker.js", import.meta.url), {type: "module"});
const waiting = new Map();
let n = 0, live = null, known;

worker.onmessage = ({data: {id, answer, error}}) => {
  const {resolve, reject} = waiting.get(id);
  waiting.delete(id);
  error === undefined ? resolve(answer) : reject(new Error(error));
};
worker.onerror = () => fail(new Error("This browser cannot run the model."));

function ask(what, given = {}) {
  return new Promise((resolve, reject) => {
    waiting.set(++n, {resolve, reject});
    worker.postMessage({id: n, ask: what, ...given});
  });
}

function status(text, role = "status") {
  find("status").setAttribute("role", role);
  if (find("status").textContent !== text) find("status").textContent = text;
}

function fail(error) {
  if (live) closeMicrophone(live);
  live = null;
  buttons();
  status(error.message, "alert");
}

function buttons() {
  find("start").disabled = Boolean(live) || !known;
  find("stop").disabled = !live;
  find("file").disabled = Boolean(live) || !known;
}

const threshold = () => Number(find("threshold").value);

async function scope() {
  const {words, step_s} = await ask("start");
  const parts = {canvas: find("plot"), list: find("words"), legend: find("legend")};
  const made = new Scope(parts, words, step_s);
  made.threshold = threshold();
  return made;
}

async function start() {
  try {
    status("Waiting for the microphone");
    const mine = {over: false, scope: await scope(), nWaiting: 0};
    const take = async ({samples}) => {
      if (mine.over) return;
      mine.scope.addSamples(samples, RATE);
      if (++mine.nWaiting > MOST_WAITING) return fail(new Error("This machine is too slow to listen live."));
      try {
        const result = await ask("feed", {samples, threshold: threshold()});
        mine.scope.threshold = threshold();
        mine.scope.addResult(result);
        if (!mine.over) status(result.pending ? `“${result.pending.word}”` : "Listening");
      } catch (error) {
        fail(error);
      }
      mine.nWaiting--;
    };
    const onended = () => fail(new Error("The microphone was taken away."));
    Object.assign(mine, await openMicrophone(take, {sampleRate: RATE, onended}));
    live = mine;
    buttons();
    status("Listening");
    mine.scope.follow(() => mine.over || live !== mine);
  } catch (error) {
    fail(error);
  }
}

async function stop() {
  const mine = live;
  mine.over = true;
  live = null;
  closeMicrophone(mine);
  mine.scope.addResult(await ask("finish"));
  mine.scope.draw();
  buttons();
  status("Stopped");
}

async function spot(file) {
  try {
    find("file").disabled = find("start").disabled = true;
    status(`Reading ${file.name}`);
    const context = new OfflineAudioContext(1, 1, RATE);
    const decoded = await context.decodeAudioData(await file.arrayBuffer());
    const samples = mixed(decoded), shown = await scope();
    for (let i = 0; i < samples.length; i += BLOCK_S * RATE) {
      const block = samples.slice(i, i + BLOCK_S * RATE);
      shown.addSamples(block, RATE);
      shown.addResult(await ask("feed", {samples: block, threshold: threshold()}));
      shown.draw();
      status(`${file.name}: ${Math.round(100 * (i + block.length) / samples.length)} %`);
    }
    shown.addResult(await ask("finish"));
    shown.draw();
    const words = find("words").children.length;
    status(`${file.name}: ${words} word${words === 1 ? "" : "s"} in ${decoded.duration.toFixed(1)} s`);
  } catch (error) {
    status(error.name === "EncodingError" ? `${file.name} is no sound that this browser can read.` : error.message, "alert");
  }
  buttons();
}

/** Mix channels down to 16 bits. */
function mixed(decoded) {
  const channels = Array.from({length: decoded.numberOfChannels}, (_, c) => decoded.getChannelData(c));
  return Int16Array.from({length: decoded.length}, (_, i) => {
    const mean = channels.reduce((sum, channel) => sum + channel[i], 0) / channels.length;
    return Math.max(-32768, Math.min(32767, Math.round(mean * 32768)));
  });
}

function showThreshold() {
  find("threshold-value").value = threshold().toFixed(3);
  const point = known.expected.find(([at]) => at >= threshold()) ?? known.expected.at(-1);
  if (point) find("cost").textContent = point[1];
}

find("start").onclick = start;
find("stop").onclick = stop;
find("file").onchange = ({target}) => target.files[0] && spot(target.files[0]);
find("threshold").oninput = showThreshold;
try {
  ({known} = await ask("open"));
  find("threshold").value = known.spotting.threshold;
  find("model").textContent = `${known.name}: ${known.n_parameters.toLocaleString("en")} parameters, ${(known.size_bytes / 1e6).toFixed(1)} MB`;
  find("known").textContent = known.labels.filter((label) => !["unknown", "silence"].includes(label)).join(", ");
  showThreshold();
  status("Ready. Press Start, and say one of the words.");
} catch (error) {
  fail(error);
}
buttons();
