// The live mode of `kwspot ui`: microphone -> 16-bit samples -> live/process (live.py) -> scope.js.
import {Scope, closeMicrophone, openMicrophone} from "./scope.js";
import {request} from "./server.js";

const BLOCK_S = 0.25, MOST_S = 8; // of sound in a request at least; waiting at most
const DELAY_S = 0.5; // by which the picture is late, so that it moves evenly

async function post(what, values, body) {
  const url = new URL(`../live/${what}`, import.meta.url);
  url.search = new URLSearchParams(values);
  let response;
  try {
    response = await request(url, {method: "POST", body});
  } catch {
    throw new Error("The server does not answer; start again when it does.");
  }
  const answer = await response.json().catch(() => ({error: `The server failed (${response.status}).`}));
  if (!response.ok) throw new Error(answer.error ?? `The server failed (${response.status}).`);
  return answer;
}

export class Live {
  /** `parts` of the page: canvas, list, legend and status. `changed()` is called when it starts and ends. */
  constructor(parts, changed) {
    this.parts = parts;
    this.changed = changed;
    this.session = null;
  }

  get isOn() {
    return Boolean(this.session && !this.session.over);
  }

  status(text, role = "status") {
    this.parts.status.setAttribute("role", role);
    if (this.parts.status.textContent !== text) this.parts.status.textContent = text;
  }

  async start(model, threshold) {
    if (this.isOn) return;
    const mine = {threshold, waiting: [], nSent: 0, over: false};
    this.session = mine;
    this.changed();
    this.status("Waiting for the microphone");
    try {
      const onended = () => this.#fail(mine, new Error("The microphone was taken away."));
      mine.microphone = await openMicrophone((sound) => this.#take(mine, sound), {onended});
      const rate = mine.microphone.context.sampleRate;
      const {visitor, words, step_s} = await post("start", {model, rate});
      if (mine.over) return closeMicrophone(mine.microphone);
      mine.scope = new Scope(this.parts, words, step_s);
      mine.scope.threshold = mine.threshold;
      mine.scope.now = () => Math.min(mine.scope.seconds, mine.over ? Infinity :
        mine.microphone.context.currentTime - (mine.begun_s ?? 0) - DELAY_S);
      mine.visitor = visitor;
      this.status("Listening");
      mine.scope.follow(() => mine.over);
    } catch (error) {
      this.#fail(mine, error);
    }
  }

  #fail(mine, error) {
    if (this.session !== mine || mine.over) return;
    mine.over = true;
    if (mine.microphone) closeMicrophone(mine.microphone);
    this.status(error.message, "alert");
    this.changed();
  }

  #take(mine, {samples, ends_s}) {
    if (mine.over || !mine.scope) return; // sound before the server listens is left out
    const {sampleRate} = mine.microphone.context;
    mine.begun_s ??= ends_s - samples.length / sampleRate;
    mine.scope.addSamples(samples, sampleRate);
    mine.waiting.push(samples);
    const seconds = mine.waiting.length * samples.length / sampleRate;
    if (seconds > MOST_S) this.#fail(mine, new Error("The server cannot keep up with the microphone."));
    else if (!mine.sending && seconds >= BLOCK_S) mine.sending = this.#send(mine).catch((error) => this.#fail(mine, error));
  }

  async #send(mine) {
    const block = new Blob(mine.waiting.splice(0));
    const asked = {visitor: mine.visitor, at: mine.nSent, threshold: mine.threshold};
    const answer = await post("process", asked, block);
    mine.nSent += block.size / 2;
    mine.scope.addResult(answer);
    if (!mine.over) this.status(answer.pending ? `“${answer.pending.word}”` : "Listening");
    mine.sending = null;
  }

  async stop() {
    const mine = this.session;
    if (!mine || mine.over) return;
    mine.over = true;
    if (mine.microphone) closeMicrophone(mine.microphone);
    this.changed();
    this.status("Stopped");
    if (!mine.visitor) return;
    try {
      await mine.sending;
      if (mine.waiting.length) await this.#send(mine);
      mine.scope.addResult({rows: [], pending: null, ...await post("stop", {visitor: mine.visitor})});
    } catch (error) {
      this.status(error.message, "alert");
    }
    mine.scope.draw();
  }

  setThreshold(threshold) {
    const mine = this.session;
    if (!mine) return;
    mine.threshold = threshold;
    if (!mine.scope) return;
    mine.scope.threshold = threshold;
    if (mine.over) mine.scope.draw();
  }

  async setModel(model, threshold) {
    if (!this.isOn) return;
    await this.stop();
    await this.start(model, threshold);
  }
}
