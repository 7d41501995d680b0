"use strict";
const by = (id) => document.getElementById(id);
let labeller;           // whose link it is, once the server has said
let task = null;        // {id, prompt, answers: [{id, text}]}
let places = new Map(); // answer id -> place; answers that have none yet are not in it
const DRAGGED = "application/x-rlreason-answer";
let busy = false;

async function call(path, body, then) {
  if (busy) return;
  busy = true;
  try {
    const response = await fetch(path, {
      method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify({ labeller, ...body }),
    });
    const found = await response.json().catch(() => (
      { error: response.status === 403 ? "Open your link again." : "The server failed; nothing is lost." }));
    if (!response.ok) throw new Error(found.error);
    tell("");
    then?.();
    show(found);
  } catch (error) {
    tell(error instanceof TypeError ? "The server does not answer; nothing is lost. Save again when it is back." : error.message);
  } finally { busy = false; }
}

function tell(message) { by("error").textContent = message; by("error").hidden = !message; }

function show(found) {
  const { done, total, labellers, alpha } = found.progress;
  by("bar").max = total; by("bar").value = done;
  by("progress").textContent = `${done} of ${total}`;
  by("agreement").textContent = labellers > 1 && alpha !== null ? `agreement of ${labellers}: ${alpha.toFixed(2)}` : "";
  by("name").textContent = labeller = found.labeller;
  task = found.prompt; places = new Map();
  by("task").hidden = !task; by("done").hidden = !!task;
  if (!task) return;
  by("comment").value = task.comment ?? "";
  if (task.places) places = new Map(Object.entries(task.places).map(([id, at]) => [Number(id), at]));
  else restore();
  const turns = typeof task.prompt === "string" ? [{ content: task.prompt }] : task.prompt;
  by("prompt").replaceChildren(...turns.map((turn) => {
    const part = document.createElement("div");
    if (turn.role) { const role = document.createElement("b"); role.textContent = turn.role; part.append(role); }
    part.append(turn.content);
    return part;
  }));
  by("help").textContent = task.answers.length === 2
    ? "a or b: that one is better. =: a tie. 0: both are bad."
    : "1 to 9 picks that answer as the next best, again takes it back; on an answer in focus it is its place, equal ones are ties. =: all alike. 0: all bad.";
  draw();
}

function draw() {
  by("answers").replaceChildren(...task.answers.map((answer, at) => {
    const row = document.createElement("li");
    row.draggable = true; row.tabIndex = 0; row.dataset.id = answer.id;
    row.classList.toggle("placed", places.has(answer.id));
    const letter = document.createElement("span"), mark = document.createElement("button");
    letter.className = "letter"; letter.textContent = task.answers.length === 2 ? "ab"[at] : String(at + 1); // the key that picks it
    mark.className = "place"; mark.textContent = places.get(answer.id) ?? "–"; mark.tabIndex = -1;
    mark.setAttribute("aria-label", `Place of answer ${letter.textContent}`);
    mark.addEventListener("click", () => toggle(answer.id));
    row.append(letter, mark);
    const text = document.createElement("span");
    text.textContent = answer.text || "(empty answer)"; if (!answer.text) text.className = "soft";
    row.append(text);
    row.addEventListener("dragstart", (event) => event.dataTransfer.setData(DRAGGED, String(at)));
    row.addEventListener("dragover", (event) => {
      if (event.dataTransfer.types.includes(DRAGGED)) { event.preventDefault(); row.classList.add("over"); }
    });
    row.addEventListener("dragleave", () => row.classList.remove("over"));
    row.addEventListener("drop", (event) => { event.preventDefault(); move(Number(event.dataTransfer.getData(DRAGGED)), at); });
    return row;
  }));
  keep();
}

// What is not saved yet outlives a reload or a closed tab. The key stands for the prompt's and the answers' very texts.
function draft() { return `rlreason-draft-${task.key}-${labeller}`; }

function keep() {
  const order = task.answers.map((answer) => answer.id);
  localStorage.setItem(draft(), JSON.stringify({ order, places: [...places], comment: by("comment").value }));
}

function restore() {
  const found = JSON.parse(localStorage.getItem(draft()) || "null");
  if (!found) return;
  task.answers.sort((one, other) => found.order.indexOf(one.id) - found.order.indexOf(other.id));
  places = new Map(found.places);
  by("comment").value = found.comment;
}

function move(from, to) { // the order on the page is the ranking
  task.answers.splice(to, 0, ...task.answers.splice(from, 1));
  task.answers.forEach((answer, at) => places.set(answer.id, at + 1));
  draw();
}

function pick(number) { // answer 3 gets the next place; in focus, an answer is given the place itself
  const answer = task.answers[number - 1];
  if (!answer) return;
  const focused = document.activeElement?.closest?.("#answers li");
  if (!focused) return toggle(answer.id);
  const id = Number(focused.dataset.id);
  places.set(id, number);
  draw();
  by("answers").querySelector(`[data-id="${id}"]`).focus();
}

function toggle(id) { // the next place, or none again
  if (!places.delete(id)) places.set(id, places.size + 1);
  draw();
}

function save(allBad) {
  if (!task) return;
  if (allBad) task.answers.forEach((answer) => places.set(answer.id, 1));
  if (places.size < task.answers.length) return tell("Give each answer a place first.");
  const label = { prompt: task.id, places: Object.fromEntries(places), all_bad: allBad, comment: by("comment").value };
  const saved = draft();
  call("/save", label, () => localStorage.removeItem(saved));
}

function all(number) { task.answers.forEach((answer) => places.set(answer.id, number)); draw(); }
function clear() { places = new Map(); draw(); }
function better(at) { all(2); places.set(task.answers[at].id, 1); draw(); save(false); }

by("save").addEventListener("click", () => save(false));
by("bad").addEventListener("click", () => save(true));
by("clear").addEventListener("click", clear);
by("comment").addEventListener("input", keep);
for (const id of ["undo", "undo2"]) by(id).addEventListener("click", () => call("/undo", {}));

document.addEventListener("keydown", (event) => {
  if (event.target.matches("textarea") || event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.repeat || !labeller) return; // a key that is held is one answer, not many
  if (event.key === "u") return call("/undo", {});
  if (!task) return;
  if (event.key >= "1" && event.key <= "9") pick(Number(event.key));
  else if (event.key === "0") save(true);
  else if (event.key === "=") { all(1); if (task.answers.length === 2) save(false); }
  else if (event.key === "Escape") clear();
  else if (event.key === "Enter" && !event.target.matches("button")) save(false);
  else if (task.answers.length === 2 && (event.key === "a" || event.key === "b")) better(event.key === "a" ? 0 : 1);
  else return;
  event.preventDefault();
});

call("/next", {});
