// Sound as it comes -> log-mel frames for the eye: 40 bands up to 4 kHz, as the models see them, a frame every 20 ms.
const N_MELS = 40, HIGHEST_HZ = 4000, WINDOW_S = 0.03, HOP_S = 0.02;
const QUIETEST_DB = -75, LOUDEST_DB = -15; // of full scale, in a band: what is shown as nothing and as all

const mel = (hz) => 2595 * Math.log10(1 + hz / 700), hertz = (m) => 700 * (10 ** (m / 2595) - 1); // HTK

export class LogMel {
  constructor(rate) {
    this.rate = rate;
    this.length = Math.round(WINDOW_S * rate);
    this.hop = Math.round(HOP_S * rate);
    this.nFft = 2 ** Math.ceil(Math.log2(this.length));
    this.window = Float32Array.from({length: this.length}, (_, i) => 0.5 - 0.5 * Math.cos(2 * Math.PI * i / this.length));
    const edges = Array.from({length: N_MELS + 2}, (_, i) => hertz(mel(HIGHEST_HZ) * i / (N_MELS + 1)) * this.nFft / rate);
    this.bands = edges.slice(1, -1).map((centre, b) => { // [bin, weight] of each, the nearest bin of a narrow one
      const [low, high] = [edges[b], edges[b + 2]], bins = [];
      for (let k = Math.ceil(low); k < high; k++)
        bins.push([k, Math.max(0, Math.min((k - low) / (centre - low), (high - k) / (high - centre)))]);
      return bins.length ? bins : [[Math.round(centre), 1]];
    });
    this.waiting = new Float32Array(0);
    this.seconds = 0; // at which `waiting` begins
  }

  /** Take samples (Int16Array); return the frames they complete: {at_s, bands}, bands from 0 to 1. */
  feed(samples) {
    const sound = new Float32Array(this.waiting.length + samples.length);
    sound.set(this.waiting);
    for (let i = 0; i < samples.length; i++) sound[this.waiting.length + i] = samples[i] / 32768;
    const frames = [];
    let from = 0;
    for (; from + this.length <= sound.length; from += this.hop)
      frames.push({at_s: this.seconds + from / this.rate, bands: this.#frame(sound, from)});
    this.waiting = sound.slice(from);
    this.seconds += from / this.rate;
    return frames;
  }

  #frame(sound, from) {
    const re = new Float32Array(this.nFft), im = new Float32Array(this.nFft);
    for (let i = 0; i < this.length; i++) re[i] = sound[from + i] * this.window[i];
    fourier(re, im);
    const whole = (this.length / 4) ** 2; // the power of a sine of full scale
    return this.bands.map((bins) => {
      let power = 1e-12;
      for (const [k, weight] of bins) power += weight * (re[k] ** 2 + im[k] ** 2) / whole;
      return Math.max(0, Math.min(1, (10 * Math.log10(power) - QUIETEST_DB) / (LOUDEST_DB - QUIETEST_DB)));
    });
  }
}

LogMel.HOP_S = HOP_S;
LogMel.N_MELS = N_MELS;

/** Fourier transform in place, radix 2. */
function fourier(re, im) {
  const n = re.length;
  for (let i = 1, j = 0; i < n; i++) {
    let bit = n >> 1;
    for (; j & bit; bit >>= 1) j ^= bit;
    j ^= bit;
    if (i < j) [re[i], re[j]] = [re[j], re[i]];
  }
  for (let half = 1; half < n; half *= 2) {
    const turn = -Math.PI / half;
    for (let k = 0; k < half; k++) {
      const c = Math.cos(turn * k), s = Math.sin(turn * k);
      for (let a = k; a < n; a += 2 * half) {
        const b = a + half, x = re[b] * c - im[b] * s, y = re[b] * s + im[b] * c;
        re[b] = re[a] - x;
        im[b] = im[a] - y;
        re[a] += x;
        im[a] += y;
      }
    }
  }
}
