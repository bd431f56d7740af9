// The live mode of the page: microphone -> 16-bit samples -> live/process (live.py) -> picture, list of words.
// The same file is the audio worklet that hands the samples on.
"use strict";

if (typeof AudioWorkletProcessor !== "undefined") {
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
} else {
  const SCRIPT = document.currentScript.src;
  const SHOWN_S = 10, KEPT_S = 12; // of the plot; kept for it
  const BLOCK_S = 0.25, MOST_S = 8; // of sound in a request at least; waiting at most
  const DELAY_S = 0.5; // by which the picture is late, so that it moves evenly
  const MOST_WORDS = 200; // in the list
  const SOUND = {channelCount: 1, echoCancellation: false, noiseSuppression: false, autoGainControl: false};
  const find = (name) => document.getElementById(`live-${name}`);
  let session = null;

  const status = (text) => {
    if (find("status").textContent !== text) find("status").textContent = text;
  };

  async function post(what, values, body) {
    const url = new URL(what, SCRIPT);
    url.search = new URLSearchParams(values);
    let response;
    try {
      response = await fetch(url, {method: "POST", body});
    } catch {
      throw new Error("The server does not answer; start again when it does.");
    }
    const answer = await response.json().catch(() => ({error: `The server failed (${response.status}).`}));
    if (!response.ok) throw new Error(answer.error ?? `The server failed (${response.status}).`);
    return answer;
  }

  function release(mine) {
    mine.stream?.getTracks().forEach((track) => track.stop());
    if (mine.context.state !== "closed") mine.context.close();
  }

  function fail(mine, error) {
    if (session !== mine || mine.over) return;
    mine.over = true;
    release(mine);
    const refused = {NotAllowedError: "The browser was not allowed to listen.", NotFoundError: "There is no microphone."};
    find("status").setAttribute("role", "alert");
    status(refused[error.name] ?? error.message);
  }

  function take(mine, {samples, ends_s}) {
    if (mine.over) return;
    mine.begun_s ??= ends_s - samples.length / mine.context.sampleRate;
    mine.waiting.push(samples);
    const seconds = mine.waiting.length * samples.length / mine.context.sampleRate;
    if (seconds > MOST_S) fail(mine, new Error("The server cannot keep up with the microphone."));
    else if (mine.visitor && !mine.sending && seconds >= BLOCK_S) mine.sending = send(mine).catch((error) => fail(mine, error));
  }

  async function send(mine) {
    const block = new Blob(mine.waiting.splice(0));
    const answer = await post("process", {visitor: mine.visitor, at: mine.n_sent, threshold: mine.threshold}, block);
    mine.n_sent += block.size / 2;
    for (const row of answer.rows) mine.rows.push({at_s: ++mine.n_rows * mine.step_s, row});
    const oldest_s = mine.n_rows * mine.step_s - KEPT_S;
    while (mine.rows.length && mine.rows[0].at_s < oldest_s) mine.rows.shift();
    mine.events = mine.events.filter((event) => event.end_s > oldest_s);
    mine.pending = answer.pending;
    mark(mine, answer.events);
    if (!mine.over) status(mine.pending ? `“${mine.pending.word}”` : "Listening");
    mine.sending = null;
  }

  function mark(mine, events) {
    mine.events.push(...events);
    for (const event of events) {
      const item = document.createElement("li");
      const word = document.createElement("strong");
      word.textContent = event.word;
      word.style.color = colour(mine, event.word);
      item.append(word, ` ${event.start_s.toFixed(2)} s, posterior ${event.posterior.toFixed(2)}`);
      Object.assign(item.dataset, event);
      find("words").prepend(item);
    }
    while (find("words").children.length > MOST_WORDS) find("words").lastChild.remove();
  }

  const dark = () => document.body.classList.contains("dark");
  const colour = (mine, word) =>
    `hsl(${Math.round(mine.words.indexOf(word) * 360 / mine.words.length)} 75% ${dark() ? 65 : 33}%)`;

  function draw(mine) {
    if (session !== mine) return;
    const canvas = find("plot"), box = canvas.getBoundingClientRect(), scale = window.devicePixelRatio;
    if (box.width) {
      const [width, height] = [Math.round(box.width * scale), Math.round(box.height * scale)];
      if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, {width, height});
      const pen = canvas.getContext("2d");
      pen.setTransform(scale, 0, 0, scale, 0, 0);
      paint(mine, pen, box.width, box.height, getComputedStyle(canvas).color);
    }
    if (!mine.over) requestAnimationFrame(() => draw(mine));
  }

  function paint(mine, pen, width, height, ink) {
    const now_s = mine.over ? mine.n_rows * mine.step_s : mine.context.currentTime - (mine.begun_s ?? 0) - DELAY_S;
    const end_s = Math.max(SHOWN_S, now_s), left = 30, top = 20, bottom = height - 18;
    const x = (at_s) => left + (at_s - end_s + SHOWN_S) / SHOWN_S * (width - left);
    const y = (posterior) => bottom - posterior * (bottom - top);
    const line = (x1, y1, x2, y2) => { pen.beginPath(); pen.moveTo(x1, y1); pen.lineTo(x2, y2); pen.stroke(); };
    pen.clearRect(0, 0, width, height);
    pen.font = "12px system-ui, sans-serif";
    pen.fillStyle = pen.strokeStyle = ink;
    pen.lineWidth = 1;
    for (const posterior of [0, 0.5, 1]) {
      pen.globalAlpha = 1;
      pen.fillText(posterior.toString(), 4, y(posterior) + 4);
      pen.globalAlpha = 0.2;
      line(left, y(posterior), width, y(posterior));
    }
    pen.globalAlpha = 1;
    for (let tick = Math.ceil((end_s - SHOWN_S) / 2) * 2; tick <= end_s; tick += 2)
      pen.fillText(`${tick} s`, Math.min(x(tick), width - 28), height - 4);
    pen.save();
    pen.beginPath();
    pen.rect(left, 0, width - left, height);
    pen.clip();
    for (const event of mine.events) {
      pen.fillStyle = colour(mine, event.word);
      pen.globalAlpha = 0.15;
      pen.fillRect(x(event.start_s), top, x(event.end_s) - x(event.start_s), bottom - top);
      pen.globalAlpha = 1;
      pen.fillText(event.word, x(event.start_s), top - 6);
    }
    pen.lineWidth = 2;
    pen.lineJoin = "round";
    mine.words.forEach((word, i) => {
      pen.strokeStyle = colour(mine, word);
      pen.beginPath();
      for (const {at_s, row} of mine.rows) pen.lineTo(x(at_s), y(row[i]));
      pen.stroke();
    });
    if (mine.pending) {
      pen.fillStyle = colour(mine, mine.pending.word);
      pen.fillText(mine.pending.word, Math.min(x(mine.pending.end_s), width - 40), top - 6);
    }
    pen.strokeStyle = ink;
    pen.setLineDash([6, 4]);
    line(left, y(mine.threshold), width, y(mine.threshold));
    pen.restore();
  }

  async function start(model, threshold) {
    if (session && !session.over) return;
    const context = new AudioContext(); // in the hand of the click, which Safari asks for
    const mine = {
      context, threshold, waiting: [], n_sent: 0, rows: [], n_rows: 0, events: [], pending: null, words: [], step_s: 1,
    };
    session = mine;
    find("words").replaceChildren();
    find("status").setAttribute("role", "status");
    status("Waiting for the microphone");
    try {
      if (!navigator.mediaDevices || !context.audioWorklet)
        throw new Error("A browser gives the microphone to pages on https:// or localhost only.");
      await context.audioWorklet.addModule(SCRIPT);
      mine.stream = await navigator.mediaDevices.getUserMedia({audio: SOUND});
      mine.stream.getAudioTracks()[0].onended = () => fail(mine, new Error("The microphone was taken away."));
      await context.resume();
      const mono = {numberOfOutputs: 0, channelCount: 1, channelCountMode: "explicit"};
      const tap = new AudioWorkletNode(context, "microphone", mono);
      tap.port.onmessage = ({data}) => take(mine, data);
      context.createMediaStreamSource(mine.stream).connect(tap);
      Object.assign(mine, await post("start", {model, rate: context.sampleRate}));
      if (mine.over) return release(mine);
      find("keywords").replaceChildren(...mine.words.map((word) => {
        const item = document.createElement("li");
        item.textContent = word;
        item.style.color = colour(mine, word);
        return item;
      }));
      status("Listening");
      draw(mine);
    } catch (error) {
      fail(mine, error);
    }
  }

  async function stop() {
    const mine = session;
    if (!mine || mine.over) return;
    mine.over = true;
    release(mine);
    status("Stopped");
    if (!mine.visitor) return;
    try {
      await mine.sending;
      if (mine.waiting.length) await send(mine);
      mark(mine, (await post("stop", {visitor: mine.visitor})).events);
    } catch (error) {
      status(error.message);
    }
    mine.pending = null;
    draw(mine);
  }

  addEventListener("resize", () => session?.over && draw(session));

  window.kwspotLive = {
    start,
    stop,
    setThreshold(threshold) {
      if (!session) return;
      session.threshold = threshold;
      if (session.over) draw(session);
    },
    async setModel(model, threshold) {
      if (!session || session.over) return;
      await stop();
      await start(model, threshold);
    },
  };
}
