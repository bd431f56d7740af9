// The page of `kwspot ui`: tabs, the model, Predict and Compare; live.js and own_words.js do the rest.
import {Live} from "./live.js";
import {OwnWords} from "./own_words.js";
import {record, wav} from "./recorder.js";
import {request} from "./server.js";

const MOST_RECORDED_S = 10;
const find = (id) => document.getElementById(id);
const live = new Live(
  {canvas: find("plot"), list: find("words"), legend: find("legend"), status: find("status")},
  () => {
    find("start").disabled = live.isOn;
    find("stop").disabled = !live.isOn;
  },
);
let models = [], asked = null; // the sound that was predicted last, to predict it with another model

async function ask(what, body, values = {}) {
  const url = new URL(`../api/${what}`, import.meta.url);
  url.search = new URLSearchParams(values);
  let response;
  try {
    response = await request(url, body === undefined ? {} : {method: "POST", body});
  } catch {
    throw new Error("The server does not answer.");
  }
  const answer = await response.json().catch(() => ({error: `The server failed (${response.status}).`}));
  if (!response.ok) throw new Error(answer.error);
  return answer;
}

function shown(error) {
  find("alert").textContent = error?.message ?? "";
  find("alert").hidden = !error;
}

async function shownErrors(work) {
  shown(null);
  try {
    await work();
  } catch (error) {
    shown(error);
  }
}

// Tabs, as https://www.w3.org/WAI/ARIA/apg/patterns/tabs/ has them

const tabs = [...document.querySelectorAll("[role=tab]")];

function choose(tab) {
  for (const one of tabs) {
    const chosen = one === tab;
    one.setAttribute("aria-selected", chosen);
    one.tabIndex = chosen ? 0 : -1;
    find(one.getAttribute("aria-controls")).hidden = !chosen;
  }
  if (tab.id === "tab-compare") shownErrors(compare);
}

tabs.forEach((tab, i) => {
  tab.onclick = () => choose(tab);
  tab.onkeydown = ({key}) => {
    const step = {ArrowRight: 1, ArrowLeft: -1}[key];
    if (!step) return;
    const next = tabs[(i + step + tabs.length) % tabs.length];
    choose(next);
    next.focus();
  };
});

// The model

const model = () => models.find(({name}) => name === find("model").value);
const threshold = () => Number(find("threshold").value);

async function listModels(chosen) {
  const answer = await ask("models");
  models = answer.models;
  find("model").replaceChildren(...models.map(({name}) => new Option(name, name)));
  find("model").value = chosen ?? answer.chosen;
  find("random").hidden = !answer.corpus;
  find("own-refused").hidden = answer.enrolling;
  find("own-form").hidden = !answer.enrolling;
  await showModel();
}

async function showModel() {
  find("about").textContent = model().about;
  find("known").textContent = model().words.join(", ");
  find("threshold").value = model().threshold;
  await showThreshold();
}

async function showThreshold() {
  find("threshold-value").value = threshold().toFixed(3);
  live.setThreshold(threshold());
  const {text} = await ask("expected", undefined, {model: model().name, threshold: threshold()});
  find("expected").textContent = text;
}

find("model").onchange = () => shownErrors(async () => {
  await showModel();
  await live.setModel(model().name, threshold());
  if (asked) await predict(asked);
});
find("threshold").oninput = () => shownErrors(showThreshold);
find("start").onclick = () => live.start(model().name, threshold());
find("stop").onclick = () => live.stop();

// Predict

async function predict({name, content}) {
  asked = {name, content};
  find("answer").textContent = "Predicting";
  try {
    showPrediction(await ask("predict", content, {model: model().name, name}));
  } catch (error) {
    find("answer").textContent = "";
    throw error;
  }
}

function showPrediction({word, posterior, top, text, picture}) {
  const strong = document.createElement("strong");
  strong.textContent = word;
  find("answer").replaceChildren(strong, ` ${posterior.toFixed(2)}: ${text}`);
  find("top").replaceChildren(...top.map((one) => {
    const item = document.createElement("li"), meter = document.createElement("meter"), name = document.createElement("span");
    name.textContent = one.word;
    meter.value = one.posterior;
    meter.setAttribute("aria-label", `Posterior of ${one.word}`);
    item.append(name, meter, one.posterior.toFixed(2));
    return item;
  }));
  find("picture").src = picture;
  find("picture").hidden = false;
  find("play-asked").hidden = false;
}

let recording = false;
find("record").onclick = () => shownErrors(async () => {
  if (recording) { recording = false; return; }
  recording = true;
  find("record").textContent = "Stop recording";
  try {
    const sound = await record(MOST_RECORDED_S, (share) => { find("record-level").value = share; }, () => !recording);
    await predict({name: "the recording", content: wav(sound)});
  } finally {
    recording = false;
    find("record").textContent = "Record";
  }
});
find("upload").onchange = ({target}) => shownErrors(async () => {
  const [file] = target.files;
  if (file) await predict({name: file.name, content: file});
  target.value = "";
});
find("random").onclick = () => shownErrors(async () => {
  const {sound, ...answer} = await ask("random", new Blob(), {model: model().name});
  asked = {name: "test clip", content: await (await fetch(`data:audio/wav;base64,${sound}`)).blob()};
  showPrediction(answer);
});
find("play-asked").onclick = () => {
  const audio = new Audio(URL.createObjectURL(asked.content));
  audio.onended = () => URL.revokeObjectURL(audio.src);
  audio.play().catch(() => shown(new Error("This browser cannot play such a file.")));
};

// Compare

const PAUSE_MS = 300; // of typing, before it is answered
let typed = null;

find("named").oninput = () => {
  clearTimeout(typed);
  typed = setTimeout(() => shownErrors(compare), PAUSE_MS);
};

async function compare() {
  const named = find("named").value;
  const {columns, rows, notes, pictures} = await ask("compare", undefined, {named});
  if (named !== find("named").value) return; // more was typed meanwhile
  const head = document.createElement("tr");
  head.append(...columns.map((text) => {
    const cell = document.createElement("th");
    cell.scope = "col";
    cell.textContent = text;
    return cell;
  }));
  const table = find("table");
  table.tHead.replaceChildren(head);
  table.tBodies[0].replaceChildren(...rows.map((cells) => {
    const row = document.createElement("tr");
    row.append(...cells.map((text) => {
      const cell = document.createElement("td");
      cell.textContent = text;
      return cell;
    }));
    return row;
  }));
  table.hidden = !rows.length;
  find("notes").textContent = notes;
  find("curves").hidden = !pictures.length;
  find("curves").replaceChildren(...pictures.map(({title, source}) => {
    const image = document.createElement("img");
    Object.assign(image, {alt: title, src: source, className: "picture"});
    return image;
  }));
}

new OwnWords({
  find, ask, shown,
  test: (name) => shownErrors(async () => {
    await live.stop();
    await listModels(name);
    choose(find("tab-live"));
    await live.start(name, threshold());
  }),
});
await shownErrors(() => listModels());
find("start").disabled = false;
