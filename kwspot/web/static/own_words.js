// Own words: takes of each word are recorded here, enrolled on the machine that serves the page, and tested live.
import {base64, play, record} from "./recorder.js";

const N_TAKES = 5, TAKE_S = 2;

export class OwnWords {
  /** `find(id)` finds a part of the page; `ask(path, body)` asks the server; `shown(error)` shows an error. */
  constructor({find, ask, shown, test}) {
    Object.assign(this, {find, ask, shown});
    this.words = new Map(); // word -> takes
    this.mine = new Set(); // names of the models made here: only they are replaced
    this.busy = false;
    find("add-word").onclick = () => this.add();
    find("new-word").onkeydown = (event) => {
      if (event.key !== "Enter") return;
      event.preventDefault(); // else it would press the button that gets the focus
      this.add();
    };
    find("enroll").onclick = () => this.enroll();
    find("test-own").onclick = () => test(this.enrolled);
    this.draw();
  }

  add() {
    const word = this.find("new-word").value.trim().replace(/\s+/g, " ");
    if (!word || this.words.has(word)) return;
    this.words.set(word, []);
    this.find("new-word").value = "";
    this.draw();
    this.find("own-words").lastChild.querySelector("button").focus();
  }

  draw() {
    this.find("own-words").replaceChildren(...[...this.words].map(([word, takes]) => this.#card(word, takes)));
    const ready = this.words.size && [...this.words.values()].every((takes) => takes.length >= 2);
    this.find("enroll").disabled = this.busy || !ready;
    this.find("own-hint").textContent = this.words.size ? "" : "Name a word, then record five takes of it.";
  }

  #card(word, takes) {
    const card = document.createElement("div"), title = document.createElement("h3"), row = document.createElement("div");
    card.className = "word";
    title.textContent = `${word}: ${takes.length} of ${N_TAKES} takes`;
    row.className = "row";
    row.append(
      this.#button("Record a take", () => this.#record(word), `Record a take of ${word}`),
      this.#button("Remove the word", () => { this.words.delete(word); this.draw(); }, `Remove the word ${word}`),
    );
    const list = document.createElement("ol");
    list.className = "takes";
    takes.forEach((take, i) => {
      const item = document.createElement("li"), text = document.createElement("span");
      text.textContent = `Take ${i + 1}, ${take.seconds.toFixed(2)} s`;
      item.append(
        text,
        this.#button("Play", () => play(take), `Play take ${i + 1} of ${word}`),
        this.#button("Discard", () => { takes.splice(i, 1); this.draw(); }, `Discard take ${i + 1} of ${word}`),
      );
      list.append(item);
    });
    card.append(title, row, list);
    return card;
  }

  #button(text, action, label) {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = text;
    button.setAttribute("aria-label", label);
    button.disabled = this.busy;
    button.onclick = action;
    return button;
  }

  async #record(word) {
    this.busy = true;
    this.draw();
    this.find("own-status").textContent = `Say “${word}” now`;
    try {
      const take = await record(TAKE_S, (share) => { this.find("level").value = share; });
      const {seconds} = await this.ask("take", new Blob([JSON.stringify({sound: await base64(take)})]));
      this.words.get(word)?.push({...take, seconds});
      this.find("own-status").textContent = "Kept";
    } catch (error) {
      this.find("own-status").textContent = `Not kept: ${error.message}`;
    }
    this.busy = false;
    this.draw();
    this.find("own-words").querySelector(`button[aria-label="Record a take of ${CSS.escape(word)}"]`)?.focus();
  }

  async enroll() {
    this.busy = true;
    this.draw();
    this.find("own-status").textContent = "Enrolling: some seconds";
    try {
      const words = {};
      for (const [word, takes] of this.words) words[word] = await Promise.all(takes.map(base64));
      const name = this.find("own-name").value.trim();
      const again = this.mine.has(name);
      const {text} = await this.ask("enroll", new Blob([JSON.stringify({name, words, again})]));
      this.mine.add(this.enrolled = name);
      this.find("own-status").textContent = `Enrolled as ${name}`;
      this.find("own-expected").textContent = text;
      this.find("own-file").href = `api/models/${encodeURIComponent(name)}.onnx`;
      this.find("own-done").hidden = false;
    } catch (error) {
      this.find("own-status").textContent = `Not enrolled: ${error.message}`;
    }
    this.busy = false;
    this.draw();
  }
}
