// A piece of sound from the microphone, as long as asked for, with its level while it is recorded.
import {closeMicrophone, openMicrophone} from "./scope.js";

/** Record so many seconds, or until `stopped()`; `level(share)` gets 0 to 1. Returns {samples: Int16Array, rate}. */
export async function record(seconds, level, stopped = () => false) {
  const parts = [];
  let n = 0, done, failed;
  const over = new Promise((resolve, reject) => { done = resolve; failed = reject; });
  const microphone = await openMicrophone(({samples}) => {
    parts.push(samples);
    n += samples.length;
    level(Math.max(0, 1 + Math.log10(samples.reduce((most, one) => Math.max(most, Math.abs(one)), 1) / 32768) / 3));
    if (n >= seconds * microphone.context.sampleRate || stopped()) done();
  }, {onended: () => failed(new Error("The microphone was taken away."))});
  try {
    await over;
  } finally {
    closeMicrophone(microphone);
    level(0);
  }
  const samples = new Int16Array(n);
  parts.reduce((at, part) => { samples.set(part, at); return at + part.length; }, 0);
  return {samples, rate: microphone.context.sampleRate};
}

/** Write samples as a WAV file. */
export function wav({samples, rate}) {
  const header = new DataView(new ArrayBuffer(44)), text = (at, letters) =>
    [...letters].forEach((letter, i) => header.setUint8(at + i, letter.charCodeAt(0)));
  text(0, "RIFF"); header.setUint32(4, 36 + 2 * samples.length, true); text(8, "WAVEfmt ");
  header.setUint32(16, 16, true); header.setUint16(20, 1, true); header.setUint16(22, 1, true);
  header.setUint32(24, rate, true); header.setUint32(28, 2 * rate, true); header.setUint16(32, 2, true);
  header.setUint16(34, 16, true); text(36, "data"); header.setUint32(40, 2 * samples.length, true);
  return new Blob([header, samples], {type: "audio/wav"});
}

/** Write samples as base64, for JSON. */
export async function base64(sound) {
  const url = await new Promise((resolve) => {
    const reader = new FileReader();
    reader.onload = () => resolve(reader.result);
    reader.readAsDataURL(wav(sound));
  });
  return url.slice(url.indexOf(",") + 1);
}

/** Play a sound. */
export function play(sound) {
  const audio = new Audio(URL.createObjectURL(wav(sound)));
  audio.onended = () => URL.revokeObjectURL(audio.src);
  audio.play();
}
