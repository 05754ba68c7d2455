// Answers of models and their cards, as elements of the page.

const TOP = 5;

function element(tag, text, className) {
  const made = document.createElement(tag);
  if (text !== undefined) made.textContent = text;
  if (className) made.className = className;
  return made;
}

/** A table of names with a bar each, the greatest first. */
function bars(shares) {
  const table = element("table");
  const rows = Object.entries(shares).sort((a, b) => b[1] - a[1]);
  for (const [name, share] of rows.slice(0, TOP)) {
    const row = table.insertRow();
    const title = element("th", name);
    title.scope = "row";
    const meter = element("meter");
    meter.value = share;
    meter.ariaLabel = name;
    const bar = element("td", undefined, "bar");
    bar.append(meter);
    row.append(title, bar, element("td", `${(100 * share).toFixed(1)} %`, "number"));
  }
  if (rows.length > TOP) table.createCaption().textContent = `The first ${TOP} of ${rows.length}`;
  return table;
}

function numbers(values) {
  const table = element("table");
  for (const [name, value] of Object.entries(values)) {
    const title = element("th", name);
    title.scope = "row";
    table.insertRow().append(title, element("td", String(Number(value.toPrecision(5))), "number"));
  }
  return table;
}

/** Words with their tags beneath; one colour for each type. */
function tagged(words, tags) {
  const types = [...new Set(tags.map((tag) => tag.replace(/^[BIOES]-/, "")))];
  const line = element("p");
  words.forEach((word, place) => {
    const tag = tags[place];
    const shown = element("span", word, tag === "O" ? "word" : "word tagged");
    shown.style.setProperty("--hue", (360 * types.indexOf(tag.replace(/^[BIOES]-/, ""))) / types.length);
    shown.append(element("small", tag === "O" ? "" : tag));
    line.append(shown, " ");
  });
  return line;
}

/** The elements that show one answer, whatever the kind of model. */
export function showAnswer(answer) {
  const shown = [];
  for (const [name, own] of Object.entries(answer.targets ?? {})) shown.push(element("h3", name), ...showAnswer(own));
  if (answer.class !== undefined) shown.push(element("p", answer.class ?? "The text is empty.", "said"));
  if (answer.labels) shown.push(element("p", answer.labels.join(", ") || "None of the labels", "said"));
  if (answer.probabilities) shown.push(bars(answer.probabilities));
  if (answer.shares) shown.push(bars(answer.shares));
  if (answer.values) shown.push(numbers(answer.values));
  if (answer.words) shown.push(tagged(answer.words, answer.tags));
  for (const key of ["translation", "text"]) if (answer[key] !== undefined) shown.push(element("p", answer[key], "said"));
  if (answer.action !== undefined) shown.push(element("p", JSON.stringify(answer.action), "said"));
  if (answer.read !== undefined) {
    shown.push(element("p", `Only the first ${answer.read} of ${answer.tokens} tokens were read.`, "note"));
  }
  return shown;
}

/** What the card of a version says, as terms and their descriptions. */
export function showAbout(model, version) {
  const { about, share, shadow } = model.versions[version];
  const test = Object.entries(about.test ?? {}).map(([name, value]) => `${name} ${Number(value).toFixed(4)}`);
  const rows = {
    "Answers": shadow ? "is compared, and answers nobody" : `${share} % of the clients`,
    "Version": version,
    "Domain": about.domain,
    "Network": about.model,
    "Classes": (about.classes ?? about.labels ?? about.targets ?? []).join(", "),
    "On its test": test.join(", "),
    "Input": about.input,
  };
  return Object.entries(rows)
    .filter(([, value]) => value)
    .flatMap(([name, value]) => [element("dt", name), element("dd", String(value))]);
}
