// Sends the form without leaving the page and shows the progress. The form also works without this script.
"use strict";

const find = (id) => document.getElementById(id);
const form = find("form"), file = find("file"), button = form.querySelector("button");
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
  find("result").replaceChildren(...content);
  find("result").focus();
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
  request.upload.onload = () => { showProgress("Checking it", null); followJob(job, request); };
  request.onload = () => showAnswer(request.status, request.responseText);
  request.onerror = () => showError("the server does not answer; is the page still running?");
  request.open("POST", "/");
  request.setRequestHeader("Accept", "application/json");
  button.disabled = true;
  find("result").replaceChildren();
  showProgress("Sending the file", 0);
  request.send(data);
}

form.addEventListener("submit", submit);
for (const type of ["dragover", "dragleave", "drop"]) {
  form.addEventListener(type, (event) => {
    event.preventDefault();
    form.classList.toggle("over", type === "dragover");
    if (type === "drop" && event.dataTransfer.files.length) file.files = event.dataTransfer.files;
  });
}
