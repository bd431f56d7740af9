// Sound -> events, as kwspot/inference/{streaming,detector,pipeline}.py do it: the same windows, smoothing, events.
// tests/web/test_space.py holds both against each other.

const SHORTEST_S = 0.1; // of a word
const STEP_MS = 40;
const AT_ONCE = 32; // windows

class Smoother {
  constructor(nRows) {
    this.nRows = nRows;
    this.before = null;
  }

  feed(rows) {
    if (!rows.length) return rows;
    const seen = [...(this.before ?? Array(this.nRows - 1).fill(rows[0])), ...rows];
    this.before = seen.slice(seen.length - this.nRows + 1);
    return rows.map((row, i) => row.map((_, c) => {
      let sum = 0;
      for (let j = i; j < i + this.nRows; j++) sum += seen[j][c];
      return sum / this.nRows;
    }));
  }
}

class Detector {
  constructor(labels, {threshold, smoothing_ms, refractory_ms, before_ms = 0, after_ms = 0}, stepS, spanS) {
    Object.assign(this, {labels, threshold, stepS, spanS, beforeS: before_ms / 1000, afterS: after_ms / 1000});
    this.nMean = Math.max(1, Math.round(smoothing_ms / 1000 / stepS));
    this.quiet = Math.max(1, Math.round(refractory_ms / 1000 / stepS)); // rows without a word that end an event
    this.longest = Math.round(spanS / stepS) + this.quiet;
    this.nRows = 0;
    this.previousEnd = 0; // of the event before
    this.candidates = new Map(); // what the pending event may be of, by class
  }

  feed(smoothed) {
    const events = [];
    for (const [i, row] of smoothed.entries()) {
      const best = row.indexOf(Math.max(...row));
      if (["unknown", "silence"].includes(this.labels[best]) || row[best] < this.threshold) continue;
      const at = this.nRows + i;
      events.push(...this.endedBefore(at));
      const before = this.candidates.get(best) ?? {posterior: row[best], first: at};
      this.candidates.set(best, {...before, posterior: Math.max(row[best], before.posterior), last: at});
    }
    this.nRows += smoothed.length;
    return [...events, ...this.endedBefore(this.nRows)];
  }

  endedBefore(row) {
    if (!this.candidates.size) return [];
    const latest = Math.max(...[...this.candidates.values()].map(({last}) => last));
    const {first} = this.candidates.get(this.strongest());
    return row - latest > this.quiet || row - first > this.longest ? this.finish() : [];
  }

  finish() {
    const events = this.candidates.size ? [this.event()] : [];
    this.candidates = new Map();
    this.previousEnd = events[0]?.end_s ?? this.previousEnd;
    return events;
  }

  get pending() {
    return this.candidates.size ? this.event() : null;
  }

  strongest() {
    return [...this.candidates].reduce((a, b) => (b[1].posterior > a[1].posterior ? b : a))[0];
  }

  event() {
    const best = this.strongest(), {posterior, first, last} = this.candidates.get(best);
    // A word whose posterior jumps to its peak reaches the threshold when so many of the mean's rows hold it.
    const nNeeded = Math.min(this.nMean, Math.ceil(this.threshold / posterior * this.nMean - 1e-6));
    let end = (first - (nNeeded - 1) + 1) * this.stepS, start = (last - (this.nMean - nNeeded) + 1) * this.stepS - this.spanS;
    if (end - start < SHORTEST_S) {
      const middle = (start + end) / 2;
      [start, end] = [middle - SHORTEST_S / 2, middle + SHORTEST_S / 2];
    }
    start = Math.max(start - this.beforeS, this.previousEnd);
    return {word: this.labels[best], start_s: start, end_s: Math.max(end + this.afterS, start + SHORTEST_S), posterior};
  }
}

/** One sound as it passes through a model: `feed` it, then `finish`; both give rows of keywords, events, pending. */
export class Spotting {
  /** `run(windows, n)` gives the posteriors (n * n_classes) of n windows; `known` is the metadata of the model file. */
  constructor(run, known) {
    this.run = run;
    this.known = known;
    this.stepLength = Math.round(known.sample_rate * STEP_MS / 1000);
    this.stepS = this.stepLength / known.sample_rate;
    this.words = known.labels.filter((label) => !["unknown", "silence"].includes(label));
    this.waiting = new Float32Array(known.clip_length - this.stepLength); // before the sound there was silence
    this.detector = new Detector(known.labels, known.spotting, this.stepS, known.clip_length / known.sample_rate);
    this.smoother = new Smoother(this.detector.nMean);
    this.nSamples = 0;
  }

  /** Take samples (Float32Array) at the model's rate. */
  async feed(samples) {
    this.nSamples += samples.length;
    const {clip_length: clip, labels} = this.known;
    const sound = new Float32Array(this.waiting.length + samples.length);
    sound.set(this.waiting);
    sound.set(samples, this.waiting.length);
    const k = Math.max(0, Math.floor((sound.length - clip) / this.stepLength) + 1), rows = [];
    for (let i = 0; i < k; i += AT_ONCE) {
      const n = Math.min(AT_ONCE, k - i), windows = new Float32Array(n * clip);
      for (let j = 0; j < n; j++) windows.set(sound.subarray((i + j) * this.stepLength, (i + j) * this.stepLength + clip), j * clip);
      const posteriors = await this.run(windows, n);
      for (let j = 0; j < n; j++) rows.push(Array.from(posteriors.subarray(j * labels.length, (j + 1) * labels.length)));
    }
    this.waiting = sound.slice(k * this.stepLength);
    const smoothed = this.smoother.feed(rows), columns = this.words.map((word) => labels.indexOf(word));
    const events = this.detector.feed(smoothed);
    return {rows: smoothed.map((row) => columns.map((c) => row[c])), events, pending: this.detector.pending};
  }

  /** End the sound: silence follows until the last word has left the window. */
  async finish() {
    const seconds = this.nSamples / this.known.sample_rate;
    const {events} = await this.feed(new Float32Array(this.known.clip_length));
    const all = [...events, ...this.detector.finish()];
    const cut = ({start_s, end_s, ...event}) => ({...event, start_s: Math.min(start_s, seconds), end_s: Math.min(end_s, seconds)});
    return {rows: [], events: all.map(cut), pending: null};
  }
}
