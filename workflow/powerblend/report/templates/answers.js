"use strict";
// What is shown came from a model or a dataset: it becomes text nodes and nothing else.
const { conditions, problems } = JSON.parse(document.getElementById("data").textContent);
const at = (id) => document.getElementById(id);
const detail = at("detail");
const LONGEST_DIFFERENCE = 4e6; // pairs of words that are compared for one answer

function element(tag, content = [], attributes = {}) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.append(...[content].flat());
  return made;
}

const truncated = (answer) => answer.finish === "length";
const unboxed = (answer) => answer.answer === null;
const graders = (answer) => answer.second !== null && answer.second !== answer.correct;
const wrong = (answer) => !answer.correct;
const verdicts = (samples) => samples.map((answer) => answer.correct).join();
const some = (test) => (problem) => problem.answers.flat().some(test);
const SHOWN = {
  "": () => true,
  differ: (problem) => new Set(problem.answers.map(verdicts)).size > 1,
  wrong: some(wrong),
  truncated: some(truncated),
  unboxed: some(unboxed),
  graders: some(graders),
};

function verdict(answer) {
  const name = answer.correct ? "right" : "wrong";
  const signs = [[answer.correct ? "✓" : "✗", name]];
  if (truncated(answer)) signs.push(["…", "truncated"]);
  if (unboxed(answer)) signs.push(["□", "no boxed answer"]);
  if (graders(answer)) signs.push(["≠", "graders differ"]);
  const words = signs.map(([, word]) => word).join(", ");
  const shown = signs.map(([sign]) => sign).join("");
  return element("span", shown, { class: name, title: words, role: "img", "aria-label": words });
}

function searched(problem) {
  const answers = problem.answers.flat().map((answer) => answer.completion);
  return [problem.id, problem.problem, problem.gold, ...answers].join("\n").toLowerCase();
}

function row(problem) {
  const question = element("td", problem.problem.slice(0, 160), { class: "question" });
  const level = element("td", problem.level === null ? "" : String(problem.level));
  const cells = problem.answers.map((a) => element("td", a.map(verdict), { class: "verdict" }));
  const made = element("tr", [question, level, ...cells], { tabindex: "0" });
  made.addEventListener("click", () => open(problem));
  return { problem, made, searched: searched(problem) };
}

const rows = problems.map(row);
at("head").append(...["Problem", "Level", ...conditions].map((n) => element("th", n, { scope: "col" })));
at("rows").append(...rows.map(({ made }) => made));
for (const key of ["level", "subject"]) {
  const values = [...new Set(problems.map((p) => String(p[key] ?? "")))].filter(Boolean).sort();
  at(key).append(...values.map((value) => element("option", value, { value })));
}

function filter() {
  const [show, level, subject] = ["show", "level", "subject"].map((id) => at(id).value);
  const text = at("text").value.toLowerCase();
  let count = 0;
  for (const { problem, made, searched } of rows) {
    const kept =
      SHOWN[show](problem) &&
      (!level || String(problem.level) === level) &&
      (!subject || problem.subject === subject) &&
      searched.includes(text);
    made.hidden = !kept;
    count += kept;
  }
  at("count").textContent = `${count} of ${problems.length} problems`;
}

// The words of b, each with whether the longest common subsequence with a lacks it.
function differences(a, b) {
  const [before, after] = [a, b].map((text) => text.match(/\s+|\w+|[^\s\w]/gu) ?? []);
  let start = 0;
  while (start < after.length && before[start] === after[start]) start++;
  let end = 0;
  const most = Math.min(before.length, after.length) - start;
  while (end < most && before.at(-1 - end) === after.at(-1 - end)) end++;
  const [x, y] = [before, after].map((words) => words.slice(start, words.length - end));
  const added = x.length * y.length > LONGEST_DIFFERENCE ? y.map(() => true) : lacking(x, y);
  return after.map((word, i) => [word, added[i - start] ?? false]);
}

function lacking(x, y) {
  const width = y.length + 1;
  const common = new Uint16Array((x.length + 1) * width);
  for (let i = x.length - 1; i >= 0; i--)
    for (let j = y.length - 1; j >= 0; j--)
      common[i * width + j] =
        x[i] === y[j]
          ? common[(i + 1) * width + j + 1] + 1
          : Math.max(common[(i + 1) * width + j], common[i * width + j + 1]);
  const added = y.map(() => true);
  for (let i = 0, j = 0; i < x.length && j < y.length; ) {
    if (x[i] === y[j]) [added[j], i, j] = [false, i + 1, j + 1];
    else if (common[(i + 1) * width + j] >= common[i * width + j + 1]) i++;
    else j++;
  }
  return added;
}

function judged(answer) {
  const found = answer.answer === null ? "no boxed answer" : `answer ${answer.answer}`;
  const parts = [found, answer.reason ?? answer.rule, answer.finish === "length" && "truncated"];
  if (answer.second !== null) parts.push(`second grader: ${answer.second ? "right" : "wrong"}`);
  return element("p", [verdict(answer), " ", parts.filter(Boolean).join("; ")]);
}

function course(answer) {
  if (!answer.moves) return [];
  const lines = answer.log_t_by_block.map((value, i) =>
    [i + 1, answer.accepted_by_block[i], value.toFixed(2)].map((v) => element("td", String(v))),
  );
  const head = ["stage", "accepted", "log t"].map((name) => element("th", name, { scope: "col" }));
  const table = element("table", [head, ...lines].map((line) => element("tr", line)), { class: "course" });
  return [element("p", `${answer.accepted} of ${answer.moves} moves accepted`), table];
}

function shaded(answer) {
  if (!answer.token_log_p?.length) return [];
  const cells = answer.token_log_p.map((value, i) => {
    const cell = element("i", [], { title: `token ${i + 1}: log p ${value.toFixed(2)}` });
    cell.style.opacity = Math.min(1, -value / 5);
    return cell;
  });
  const label = "log p by token, dark is unlikely";
  return [element("div", cells, { class: "tokens", role: "img", "aria-label": label })];
}

function column(name, answer, reference) {
  const words = differences(reference ?? answer.completion, answer.completion);
  const text = words.map(([word, added]) => (added ? element("mark", word) : word));
  const numbers = [`${answer.n_tokens} tokens`, `${answer.decoded_tokens} decoded`];
  numbers.push(`log p ${answer.log_p.toFixed(2)}`);
  const parts = [element("h3", name), judged(answer), element("p", numbers.join(", "))];
  return element("article", [...parts, element("pre", text), ...shaded(answer), ...course(answer)]);
}

function open(problem, compared = 0) {
  const reference = problem.answers[compared]?.[0]?.completion;
  const chosen = element("select", conditions.map((name, i) => element("option", name, { value: i })));
  chosen.value = String(compared);
  chosen.addEventListener("change", () => open(problem, Number(chosen.value)));
  const close = element("button", "Close", { type: "button" });
  close.addEventListener("click", () => detail.close());
  const columns = problem.answers.flatMap((samples, i) =>
    samples.map((answer) => {
      const seeded = samples.some((other) => other.seed !== answer.seed);
      const seed = seeded ? `, seed ${answer.seed}` : "";
      const name = conditions[i] + seed + (samples.length > 1 ? `, sample ${answer.sample}` : "");
      return column(name, answer, reference);
    }),
  );
  detail.replaceChildren(
    element("p", [close, " ", element("label", ["Marked: what differs from ", chosen])]),
    element("h2", problem.id, { id: "named" }),
    element("pre", problem.problem),
    element("p", `Reference answer: ${problem.gold}`),
    element("div", columns, { class: "columns" }),
  );
  if (!detail.open) detail.showModal();
}

function step(by) {
  const visible = rows.filter(({ made }) => !made.hidden).map(({ made }) => made);
  const now = visible.indexOf(document.activeElement);
  const next = now < 0 ? 0 : Math.max(0, Math.min(visible.length - 1, now + by));
  visible[next]?.focus();
}

document.addEventListener("keydown", (event) => {
  if (detail.open || event.ctrlKey || event.metaKey || event.altKey) return;
  const typing = ["INPUT", "SELECT"].includes(event.target.tagName);
  const focused = rows.find(({ made }) => made === event.target);
  if (event.key === "Enter" && focused) open(focused.problem);
  else if (!typing && event.key === "/") at("text").focus();
  else if (event.target.tagName !== "SELECT" && event.key === "ArrowDown") step(1);
  else if (event.target.tagName !== "SELECT" && event.key === "ArrowUp") step(-1);
  else return;
  event.preventDefault();
});
at("filters").addEventListener("input", filter);
at("filters").addEventListener("submit", (event) => event.preventDefault());
filter();
