// Sends the form without leaving the page, shows the progress, one person at a time, and the heat map of the node that is
// pointed at. Without this script the form works too, and all people and heat maps are shown.
"use strict";

const find = (id) => document.getElementById(id);
const form = find("form"), file = find("file"), result = find("result"), button = form.querySelector("button");
const STEPS = {faces: "Looking for faces", pictures: "Drawing pictures"};

function showProgress(text, share) {
  find("progress").hidden = false;
  if (find("step").textContent !== text) find("step").textContent = text;
  if (share === null) find("share").removeAttribute("value");
  else find("share").value = share;
}

function show(...content) {
  find("progress").hidden = true;
  button.disabled = false;
  result.replaceChildren(...content);
  prepare();
  result.focus({preventScroll: true});
  result.scrollIntoView({block: "nearest"});
}

// Of a result: the tab of the person who decides, and the heat map of the root of each tree.
function prepare() {
  const tab = result.querySelector("[role=tab][aria-selected=true]");
  if (tab) showPerson(tab);
  for (const tree of result.querySelectorAll(".tree")) showMap(tree.querySelector("a"));
}

function showPerson(chosen) {
  for (const tab of result.querySelectorAll("[role=tab]")) {
    tab.setAttribute("aria-selected", tab === chosen);
    tab.tabIndex = tab === chosen ? 0 : -1;
    find(tab.getAttribute("aria-controls")).hidden = tab !== chosen;
  }
}

function moveTab(event) {
  const tab = event.target.closest("[role=tab]");
  if (!tab) return;
  const tabs = [...tab.parentElement.children], at = tabs.indexOf(tab), last = tabs.length - 1;
  const to = {ArrowRight: at < last ? at + 1 : 0, ArrowLeft: at > 0 ? at - 1 : last, Home: 0, End: last}[event.key];
  if (to === undefined) return;
  event.preventDefault();
  showPerson(tabs[to]);
  tabs[to].focus();
}

function showMap(node) {
  const map = node && find(node.getAttribute("href").slice(1));
  if (!map) return;
  for (const other of map.parentElement.children) other.classList.toggle("shown", other === map);
  for (const other of node.parentElement.querySelectorAll("a")) other.removeAttribute("aria-current");
  node.setAttribute("aria-current", "true");
  return map;
}

function point(event) {
  const tab = event.target.closest("[role=tab]"), map = showMap(event.target.closest(".tree a"));
  if (event.type !== "click") return;
  if (tab) showPerson(tab);
  if (!map) return;
  event.preventDefault();
  map.scrollIntoView({block: "nearest"});
}

function showError(text) {
  const section = document.createElement("section"), title = document.createElement("h2"), words = document.createElement("p");
  section.className = "result problem";
  title.className = "verdict";
  title.textContent = "No verdict";
  words.textContent = text.charAt(0).toUpperCase() + text.slice(1) + (text.endsWith(".") ? "" : ".");
  section.append(title, words);
  show(section);
}

function showAnswer(status, text) {
  let answer;
  try {
    answer = JSON.parse(text);
  } catch {
    answer = {error: `the server answered ${status}`};
  }
  if (answer.error) return showError(answer.error);
  const template = document.createElement("template");
  template.innerHTML = answer.html;
  show(template.content);
}

async function followJob(job, request) {
  while (request.readyState !== XMLHttpRequest.DONE) {
    const answer = await fetch(`/progress/${job}`).catch(() => null);
    const state = answer && answer.ok ? await answer.json() : {};
    if (request.readyState === XMLHttpRequest.DONE) return;
    if (state.ahead > 0) showProgress(`Waiting in line, ${state.ahead} ahead`, null);
    else if (state.step) showProgress(STEPS[state.step], state.share);
    await new Promise((resolve) => setTimeout(resolve, 400));
  }
}

function submit(event) {
  event.preventDefault();
  const chosen = file.files[0], limit = Number(form.dataset.maxBytes);
  if (chosen && chosen.size > limit) {
    return showError(`the file is larger than ${limit / 2 ** 20} MB; cut it, or start the page with another --max_mb`);
  }
  const job = Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");
  const data = new FormData(form);
  data.append("job", job);
  const request = new XMLHttpRequest();
  request.upload.onprogress = (sent) => showProgress("Sending the file", sent.loaded / sent.total);
  request.upload.onload = () => { showProgress("Analysing it", null); followJob(job, request); };
  request.onload = () => showAnswer(request.status, request.responseText);
  request.onerror = () => showError("the server does not answer; is the page still running?");
  request.open("POST", "/");
  request.setRequestHeader("Accept", "application/json");
  button.disabled = true;
  result.replaceChildren();
  showProgress("Sending the file", 0);
  request.send(data);
}

document.documentElement.classList.add("script");
prepare();
form.addEventListener("submit", submit);
result.addEventListener("keydown", moveTab);
for (const type of ["mouseover", "focusin", "click"]) result.addEventListener(type, point);
for (const type of ["dragover", "dragleave", "drop"]) {
  form.addEventListener(type, (event) => {
    event.preventDefault();
    form.classList.toggle("over", type === "dragover");
    if (type === "drop" && event.dataTransfer.files.length) file.files = event.dataTransfer.files;
  });
}
