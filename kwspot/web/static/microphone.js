// The audio worklet of both pages: what the microphone gives, as 16-bit samples with the time at which they end.
const N_SAMPLES = 2048; // of a message

registerProcessor("microphone", class extends AudioWorkletProcessor {
  samples = new Int16Array(N_SAMPLES);
  n = 0;

  process([[channel]]) {
    for (const sample of channel ?? []) {
      this.samples[this.n++] = Math.max(-32768, Math.min(32767, Math.round(sample * 32768)));
      if (this.n === N_SAMPLES) {
        this.port.postMessage({samples: this.samples, ends_s: currentTime});
        this.samples = new Int16Array(N_SAMPLES);
        this.n = 0;
      }
    }
    return true;
  }
});
