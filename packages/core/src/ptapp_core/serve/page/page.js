// The page of `ptapp serve`: sends what the user gives to the server, and shows its answers.

import { ask, askLines, useToken } from "./ask.js";
import { showAbout, showAnswer } from "./show.js";
import { Recorder, takePicture } from "./devices.js";

const at = (id) => document.getElementById(id);
let models = [];

const chosen = () => models.find((model) => model.name === at("model").value);

/** The address of something that the chosen model does. */
function address(what) {
  const version = at("version").value;
  return `models/${chosen().name}${version ? `/versions/${version}` : ""}/${what}`;
}

/** An entry above the earlier answers. */
function newest(...elements) {
  const item = document.createElement("li");
  item.append(...elements);
  at("answers").prepend(item);
  return item;
}

function paragraph(className, text = "") {
  const made = document.createElement("p");
  made.className = className;
  made.textContent = text;
  return made;
}

/** Runs `work` and shows what went wrong in it. */
async function attempt(work) {
  at("error").textContent = "";
  try {
    await work();
  } catch (error) {
    if (error.status === 401) at("ask-token").hidden = false;
    at("error").textContent = error.message;
    at("status").textContent = "";
  }
}

/** Sends one body and puts its answers above the earlier ones. `sample` is an element that shows what was sent. */
const predict = (body, type, sample) =>
  attempt(async () => {
    at("status").textContent = "The model is computing.";
    const began = performance.now();
    const content = await ask(address("predict"), { method: "POST", body, headers: { "content-type": type } });
    const took = performance.now() - began;
    for (const answer of content.answers) {
      const note = `${content.model}, version ${content.version}, ${took.toFixed(0)} ms`;
      newest(sample, ...showAnswer(answer), paragraph("note", note));
    }
    at("status").textContent = `Answered in ${took.toFixed(0)} ms.`;
  });

async function sendImage(blob) {
  const sample = new Image();
  sample.className = "sample";
  sample.alt = blob.name ?? "The picture that was taken";
  sample.src = URL.createObjectURL(blob);
  await predict(blob, blob.type.startsWith("image/") ? blob.type : "application/octet-stream", sample);
}

async function sendAudio(blob) {
  const sample = document.createElement("audio");
  sample.controls = true;
  sample.src = URL.createObjectURL(blob);
  sample.ariaLabel = blob.name ?? "The recording that was made";
  await predict(blob, blob.type.startsWith("audio/") ? blob.type : "application/octet-stream", sample);
}

function sendJson(key, value) {
  const sample = paragraph("note", typeof value === "string" ? value : JSON.stringify(value));
  return predict(JSON.stringify({ [key]: [value] }), "application/json", sample);
}

/** Shows the text that a model writes while it writes it; the prompt is its beginning. */
const write = (prompt) =>
  attempt(async () => {
    at("status").textContent = "The model is writing.";
    const [written, note] = [paragraph("said"), paragraph("note")];
    const body = JSON.stringify({ texts: [prompt], stream: true });
    const headers = { "content-type": "application/json" };
    for await (const line of askLines(address("predict"), { method: "POST", body, headers })) {
      if (!written.isConnected) newest(written, note);
      if (line.piece !== undefined) written.textContent += line.piece;
      else {
        written.textContent = line.answers[0].text;
        note.textContent = `${line.model}, version ${line.version}`;
      }
    }
    at("status").textContent = "The text is written.";
  });

/** Shows an episode of a policy, as fast as its world goes. */
const watch = () =>
  attempt(async () => {
    at("play").disabled = true;
    try {
      at("status").textContent = "The policy plays.";
      const [picture, note] = [new Image(), paragraph("said")];
      picture.className = "sample";
      picture.alt = "The episode that the policy plays";
      const body = JSON.stringify({ seed: Math.floor(Math.random() * 2 ** 31) });
      const headers = { "content-type": "application/json" };
      for await (const line of askLines(address("play"), { method: "POST", body, headers })) {
        if (!picture.isConnected) newest(picture, note);
        if (line.picture !== undefined) {
          picture.src = `data:image/jpeg;base64,${line.picture}`;
          note.textContent = `Return ${line.return.toFixed(1)}`;
          await new Promise((resolve) => setTimeout(resolve, 1000 / line.rate));
        } else at("status").textContent = `An episode of ${line.steps} steps.`;
      }
    } finally {
      at("play").disabled = false;
    }
  });

/** Files that are chosen or dropped are sent one after the other. */
function takeFiles(input, send) {
  const area = input.closest(".drop");
  const all = async (files) => {
    for (const file of files) await send(file);
  };
  input.addEventListener("change", async () => {
    await all(input.files);
    input.value = "";
  });
  area.addEventListener("dragover", (event) => {
    event.preventDefault();
    area.classList.add("over");
  });
  area.addEventListener("dragleave", () => area.classList.remove("over"));
  area.addEventListener("drop", (event) => {
    event.preventDefault();
    area.classList.remove("over");
    all([...event.dataTransfer.files]);
  });
}

function showModel() {
  const model = chosen();
  at("version").replaceChildren(
    new Option("as the server divides them", ""),
    ...Object.keys(model.versions).map((version) => new Option(version, version)),
  );
  for (const panel of document.querySelectorAll("[data-takes]")) panel.hidden = panel.dataset.takes !== model.takes;
  at("play").hidden = !model.plays;
  at("input").hidden = false;
  at("error").textContent = "";
  at("status").textContent = "Nothing was asked yet.";
  at("answers").replaceChildren();
  showVersion();
}

function showVersion() {
  const model = chosen();
  const version = at("version").value || model.main;
  at("about").replaceChildren(...showAbout(model, version));
  const [first, second] = model.versions[version].about.pair ?? ["First text", "Second text"];
  at("first-name").textContent = first;
  at("second-name").textContent = second;
}

const begin = () =>
  attempt(async () => {
    ({ models } = await ask("models"));
    at("ask-token").hidden = true;
    at("model").replaceChildren(...models.map((model) => new Option(model.name, model.name)));
    showModel();
  });

at("model").addEventListener("change", showModel);
at("version").addEventListener("change", showVersion);
at("ask-token").addEventListener("submit", (event) => {
  event.preventDefault();
  useToken(at("token").value);
  begin();
});
takeFiles(at("photos"), sendImage);
takeFiles(at("recordings"), sendAudio);
at("texts").addEventListener("submit", (event) => {
  event.preventDefault();
  if (chosen().streams) write(at("text").value);
  else sendJson("texts", at("text").value);
});
at("pairs").addEventListener("submit", (event) => {
  event.preventDefault();
  sendJson("pairs", [at("first").value, at("second").value]);
});
at("observations").addEventListener("submit", (event) => {
  event.preventDefault();
  attempt(() => sendJson("observations", JSON.parse(at("observation").value)));
});

at("play").addEventListener("click", watch);

at("camera").addEventListener("click", () =>
  attempt(async () => {
    const view = at("view");
    view.srcObject = await devices({ video: true });
    view.hidden = at("shoot").hidden = false;
    at("camera").hidden = true;
    await view.play();
  }),
);
at("shoot").addEventListener("click", () => attempt(async () => sendImage(await takePicture(at("view")))));

const recorder = new Recorder();
at("record").addEventListener("click", () =>
  attempt(async () => {
    const button = at("record");
    if (recorder.running) {
      const recording = await recorder.stop();
      button.textContent = "Record";
      button.ariaPressed = "false";
      await sendAudio(recording);
    } else {
      await recorder.start(await devices({ audio: true }));
      button.textContent = "Stop, and answer";
      button.ariaPressed = "true";
    }
  }),
);

/** The camera or the microphone; browsers lend them to pages of this machine or over HTTPS alone. */
function devices(wanted) {
  if (!navigator.mediaDevices) throw new Error("The browser lends its devices only to localhost and to HTTPS.");
  return navigator.mediaDevices.getUserMedia(wanted);
}

begin();
