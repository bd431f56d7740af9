// What both pages show of live sound: waveform, log-mel frames and posteriors that scroll, and a list of the words spotted.
//
// The sound of the last KEPT_S seconds stays in this tab, so that each word can be played again.
import {LogMel} from "./mel.js";

const START_MS = 8000; // of audio, at most
const SHOWN_S = 10, KEPT_S = 60; // of the picture; of sound to play again
const BAR_S = 0.02; // of sound in a bar of the waveform
const COLUMNS = Math.ceil((SHOWN_S + 2) / LogMel.HOP_S); // of log-mel that are kept
const MOST_WORDS = 200; // in the list
const LEAST_PLAYED_S = 1; // around a word

/** Ask for the microphone and hand its samples on: `take({samples, ends_s})`; returns {context, stream}. */
export async function openMicrophone(take, {sampleRate, onended}) {
  const sound = {channelCount: 1, echoCancellation: false, noiseSuppression: false, autoGainControl: false};
  let stream;
  const context = new AudioContext(sampleRate ? {sampleRate} : {}); // in the hand of the click, which Safari asks for
  try {
    if (!navigator.mediaDevices || !context.audioWorklet)
      throw new Error("A browser gives the microphone to pages on https:// or localhost only.");
    await context.audioWorklet.addModule(new URL("microphone.js", import.meta.url));
    stream = await navigator.mediaDevices.getUserMedia({audio: sound});
    stream.getAudioTracks()[0].onended = onended;
    const silent = new Error("The browser does not start its audio; has this machine a sound device?"); // Firefox needs one
    await Promise.race([context.resume(), new Promise((_, fail) => setTimeout(fail, START_MS, silent))]);
    const tap = new AudioWorkletNode(context, "microphone", {
      numberOfOutputs: 0, channelCount: 1, channelCountMode: "explicit",
    });
    tap.port.onmessage = ({data}) => take(data);
    context.createMediaStreamSource(stream).connect(tap);
    return {context, stream};
  } catch (error) {
    context.close();
    stream?.getTracks().forEach((track) => track.stop());
    const refused = {NotAllowedError: "The browser was not allowed to listen.", NotFoundError: "There is no microphone."};
    throw new Error(refused[error.name] ?? error.message);
  }
}

/** Give the microphone back. */
export function closeMicrophone({context, stream}) {
  stream.getTracks().forEach((track) => track.stop());
  if (context.state !== "closed") context.close();
}

export class Scope {
  /** `canvas` shows the sound, `list` (ol) the words, `legend` (ul) the colours; words and their step in seconds. */
  constructor({canvas, list, legend}, words, stepS) {
    Object.assign(this, {canvas, list, words, stepS});
    this.rows = []; // of posteriors, a number a word
    this.nRows = 0;
    this.bars = []; // highest sample of each BAR_S
    this.nFrames = 0; // of log-mel so far
    this.sound = []; // {samples, at_s} of the last KEPT_S
    this.seconds = 0;
    this.rate = 16000;
    // The log-mel frames as a picture that is written round and round, a column each.
    this.frames = Object.assign(document.createElement("canvas"), {width: COLUMNS, height: LogMel.N_MELS});
    this.events = [];
    this.pending = null;
    this.threshold = 1;
    this.now = () => this.seconds;
    list.replaceChildren();
    legend.replaceChildren(...words.map((word) => {
      const item = document.createElement("li");
      item.style.setProperty("--word", this.colour(word));
      item.textContent = word;
      return item;
    }));
  }

  /** Take samples (Int16Array) at a rate. */
  addSamples(samples, rate) {
    this.rate = rate;
    this.sound.push({samples, at_s: this.seconds});
    const perBar = Math.round(rate * BAR_S);
    for (let i = 0; i < samples.length; i += perBar) {
      let peak = 0;
      for (let j = i; j < Math.min(i + perBar, samples.length); j++) peak = Math.max(peak, Math.abs(samples[j]));
      this.bars.push({at_s: this.seconds + i / rate, peak: peak / 32768});
    }
    this.#addFrames(samples, rate);
    this.seconds += samples.length / rate;
    while (this.sound[0].at_s < this.seconds - KEPT_S) this.sound.shift();
    while (this.bars[0].at_s < this.seconds - SHOWN_S - 2) this.bars.shift();
  }

  #addFrames(samples, rate) {
    if (this.mel?.rate !== rate) this.mel = new LogMel(rate);
    const pen = this.frames.getContext("2d");
    const [red, green, blue] = getComputedStyle(this.canvas).color.match(/\d+/g).map(Number);
    for (const {bands} of this.mel.feed(samples)) {
      const column = pen.createImageData(1, LogMel.N_MELS);
      bands.forEach((loudness, band) => // the lowest band at the bottom
        column.data.set([red, green, blue, 255 * loudness], 4 * (LogMel.N_MELS - 1 - band)));
      pen.putImageData(column, this.nFrames++ % COLUMNS, 0);
    }
  }

  #paintFrames(pen, x, top, height) {
    const first = Math.max(0, this.nFrames - COLUMNS), width = x(LogMel.HOP_S) - x(0);
    for (let from = first; from < this.nFrames;) { // two pieces, where the picture begins anew
      const n = Math.min(this.nFrames - from, COLUMNS - from % COLUMNS);
      pen.drawImage(this.frames, from % COLUMNS, 0, n, LogMel.N_MELS, x(from * LogMel.HOP_S), top, n * width, height);
      from += n;
    }
  }

  /** Take rows of posteriors, finished events, and the event that is not over (or null). */
  addResult({rows, events, pending}) {
    for (const row of rows) this.rows.push({at_s: ++this.nRows * this.stepS, row});
    const oldest_s = this.nRows * this.stepS - SHOWN_S - 2;
    while (this.rows.length && this.rows[0].at_s < oldest_s) this.rows.shift();
    this.events = this.events.filter((event) => event.end_s > oldest_s);
    this.pending = pending;
    this.events.push(...events);
    for (const event of events) this.list.prepend(this.#item(event));
    while (this.list.children.length > MOST_WORDS) this.list.lastChild.remove();
  }

  #item(event) {
    const item = document.createElement("li"), word = document.createElement("strong");
    const times = document.createElement("span"), play = document.createElement("button");
    item.style.setProperty("--word", this.colour(event.word));
    word.textContent = event.word;
    times.textContent = `${event.start_s.toFixed(2)} s, posterior ${event.posterior.toFixed(2)}`;
    play.type = "button";
    play.textContent = "Play";
    play.setAttribute("aria-label", `Play ${event.word} at ${event.start_s.toFixed(2)} s`);
    play.onclick = () => this.play(event, play);
    item.append(word, times, play);
    Object.assign(item.dataset, event);
    return item;
  }

  /** Play the sound around an event, if it is still kept. */
  play({start_s, end_s}, button) {
    const margin = Math.max(0.1, (LEAST_PLAYED_S - (end_s - start_s)) / 2);
    const first_s = this.sound[0]?.at_s ?? 0;
    const from = Math.max(0, Math.round((start_s - margin - first_s) * this.rate));
    const whole = this.sound.flatMap(({samples}) => Array.from(samples));
    const part = whole.slice(from, Math.max(from, Math.round((end_s + margin - first_s) * this.rate)));
    if (!part.length || end_s < first_s) {
      button.textContent = "Gone";
      button.disabled = true;
      return;
    }
    const context = new AudioContext(), buffer = context.createBuffer(1, part.length, this.rate);
    buffer.getChannelData(0).set(part.map((sample) => sample / 32768));
    const source = new AudioBufferSourceNode(context, {buffer});
    source.connect(context.destination);
    source.onended = () => context.close();
    source.start();
  }

  /** Return the colour of a word. */
  colour(word) {
    const dark = matchMedia("(prefers-color-scheme: dark)").matches;
    return `hsl(${Math.round(this.words.indexOf(word) * 360 / this.words.length)} 75% ${dark ? 72 : 26}%)`;
  }

  /** Draw until `isOver()`. */
  follow(isOver) {
    this.draw();
    if (!isOver()) requestAnimationFrame(() => this.follow(isOver));
  }

  draw() {
    const box = this.canvas.getBoundingClientRect(), scale = window.devicePixelRatio;
    if (!box.width) return;
    const [width, height] = [Math.round(box.width * scale), Math.round(box.height * scale)];
    if (this.canvas.width !== width || this.canvas.height !== height) Object.assign(this.canvas, {width, height});
    const pen = this.canvas.getContext("2d");
    pen.setTransform(scale, 0, 0, scale, 0, 0);
    pen.clearRect(0, 0, box.width, box.height);
    this.#paint(pen, box.width, box.height, getComputedStyle(this.canvas).color);
  }

  #paint(pen, width, height, ink) {
    const end_s = Math.max(SHOWN_S, this.now()), left = 30, bottom = height - 20;
    const middle = Math.round(height * 0.25), below = Math.round(height * 0.5), top = below + 12;
    const x = (at_s) => left + (at_s - end_s + SHOWN_S) / SHOWN_S * (width - left);
    const y = (posterior) => bottom - posterior * (bottom - top);
    const line = (x1, y1, x2, y2) => { pen.beginPath(); pen.moveTo(x1, y1); pen.lineTo(x2, y2); pen.stroke(); };
    pen.font = "12px system-ui, sans-serif";
    pen.fillStyle = pen.strokeStyle = ink;
    pen.lineWidth = 1;
    for (const posterior of [0, 0.5, 1]) {
      pen.globalAlpha = 1;
      pen.fillText(posterior.toString(), 4, y(posterior) + 4);
      pen.globalAlpha = 0.15;
      line(left, y(posterior), width, y(posterior));
    }
    pen.globalAlpha = 1;
    for (let tick = Math.ceil((end_s - SHOWN_S) / 2) * 2; tick <= end_s; tick += 2)
      pen.fillText(`${tick} s`, Math.min(Math.max(x(tick), left), width - 28), height - 4);
    pen.save();
    pen.beginPath();
    pen.rect(left, 0, width - left, height);
    pen.clip();
    const spotted = [...this.events, ...(this.pending ? [this.pending] : [])];
    for (const event of spotted) {
      pen.fillStyle = this.colour(event.word);
      pen.globalAlpha = 0.14;
      pen.fillRect(x(event.start_s), 20, x(event.end_s) - x(event.start_s), bottom - 20);
      pen.globalAlpha = 1;
      pen.font = "600 15px system-ui, sans-serif";
      pen.fillText(event.word, Math.min(x(event.start_s), width - 48), 15);
    }
    this.#paintFrames(pen, x, middle + 4, below - middle - 4);
    const centre = (20 + middle) / 2, barWidth = Math.max(1, BAR_S / SHOWN_S * (width - left) - 1);
    pen.fillStyle = ink;
    for (const {at_s, peak} of this.bars) { // loudness in dB, so that quiet speech is seen
      const share = Math.max(0, 1 + Math.log10(Math.max(peak, 1e-5)) / 2.5), half = Math.max(0.5, share * (middle - 20) / 2);
      const within = spotted.find((event) => at_s >= event.start_s && at_s <= event.end_s);
      pen.fillStyle = within ? this.colour(within.word) : ink;
      pen.globalAlpha = within ? 1 : 0.55;
      pen.fillRect(x(at_s), centre - half, barWidth, 2 * half);
    }
    pen.globalAlpha = 1;
    pen.lineWidth = 2;
    pen.lineJoin = "round";
    this.words.forEach((word, i) => {
      pen.strokeStyle = this.colour(word);
      pen.beginPath();
      for (const {at_s, row} of this.rows) pen.lineTo(x(at_s), y(row[i]));
      pen.stroke();
    });
    pen.strokeStyle = ink;
    pen.setLineDash([6, 4]);
    line(left, y(this.threshold), width, y(this.threshold));
    pen.restore();
  }
}
