import { announce } from "./announce.js";
import { Chat } from "./chat.js";
import { Composer } from "./composer.js";
import { Connection } from "./connection.js";
import { ConversationList } from "./conversation-list.js";
import { Conversations, conversationOf } from "./conversations.js";
import { askForTitle, askForToken, askToDelete } from "./dialogs.js";
import { Unreachable, json, setApiToken, whenTokenIsNeeded } from "./edge.js";
import { count } from "./figures.js";
import { PlanView } from "./plan-view.js";
import { askForSettings, showDefaults } from "./settings.js";
import { SplitView } from "./split-view.js";
import { currentTheme, nextTheme } from "./theme.js";
import { openView, whenViewChanges } from "./views.js";

const byId = (id) => document.getElementById(id);
const splitView = new SplitView(byId("split"));
const planView = new PlanView(byId("plan"), failed);
const connection = new Connection(showTrouble, back);
const conversations = new Conversations(() => (byId("storage-trouble").hidden = false));
let model = null;

const chat = new Chat(byId("messages"), conversations, async () => model ?? (await loadModel()), {
  change: showChat,
  begin: () => splitView.begin(),
  step: (report) => splitView.step(report),
  end: (error) => {
    splitView.end();
    // Whoever has just declined to give a token is not asked once more.
    if (error?.status !== 401 && !connection.isAway) tryToLoadModel();
  },
  unreachable: () => connection.lost(),
});
const composer = new Composer(
  (text) => chat.send(text),
  () => chat.stop(),
);
const list = new ConversationList(
  (id) => chat.open(conversations.get(id)),
  () => {
    chat.open(conversations.create(chat.conversation.system));
    composer.focus();
  },
);

function showChat() {
  const { conversation, isAnswering } = chat;
  const title = conversation.title || "New conversation";
  byId("title").textContent = title;
  document.title = conversation.title ? `${title} – Tandem` : "Tandem";
  const isKept = conversation.messages.length > 0;
  byId("rename").disabled = !isKept;
  byId("delete").disabled = !isKept || chat.isAnsweringIn(conversation.id);
  document.body.classList.toggle("answering", isAnswering);
  composer.show(isAnswering);
  list.show(conversations.all, conversation.id, (id) => chat.isAnsweringIn(id));
  showContext();
}

/** How much of the context the conversation takes, by its newest answer. */
function showContext() {
  const taken = chat.conversation.messages.at(-1)?.figures?.context;
  byId("context").textContent =
    taken && model ? `${count(taken)} of ${count(model.context)} tokens of context taken.` : "";
}

async function loadModel() {
  model = await json("tandem/model");
  byId("model-name").textContent = model.name;
  byId("cloud-state").textContent = model.cloud_reachable ? "" : "cloud not reachable";
  showDefaults(model.default_sampling);
  splitView.showModel(model);
  showContext();
  return model;
}

function tryToLoadModel() {
  loadModel().catch(failed);
}

/** What is shown stays. An edge that is away or not ready is waited for. */
function failed(error) {
  if (error instanceof Unreachable || error.status === 503) connection.lost();
  else byId("cloud-state").textContent = error.message;
}

function showTrouble(trouble) {
  const notice = byId("trouble");
  const wasHidden = notice.hidden;
  notice.hidden = trouble === null;
  if (trouble) {
    byId("trouble-message").textContent = trouble.message;
    byId("trouble-pause").textContent = `Asked again in ${trouble.seconds} s.`;
  }
  if (wasHidden !== notice.hidden) announce(trouble ? trouble.message : "The edge is back.");
}

function back() {
  tryToLoadModel();
  if (openView() === "plan") planView.load();
}

function showTheme() {
  const label = `Colours: ${currentTheme()}`;
  const button = byId("theme");
  button.title = label;
  button.setAttribute("aria-label", label);
  button.querySelector("use").setAttribute("href", `#icon-${currentTheme()}`);
  splitView.recolour();
}

byId("trouble")
  .querySelector("button")
  .addEventListener("click", () => connection.tryNow());
byId("storage-trouble")
  .querySelector("button")
  .addEventListener("click", () => (byId("storage-trouble").hidden = true));
byId("theme").addEventListener("click", () => {
  nextTheme();
  showTheme();
});
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => splitView.recolour());

byId("rename").addEventListener("click", async () => {
  const { conversation } = chat;
  const title = await askForTitle(conversation.title);
  if (title === null) return;
  conversation.title = title;
  conversations.save(conversation);
  showChat();
});
byId("delete").addEventListener("click", async () => {
  const { conversation } = chat;
  if (!(await askToDelete(conversation.title))) return;
  conversations.delete(conversation.id);
  chat.open(conversations.all[0] ?? conversations.create(conversation.system));
});
byId("settings").addEventListener("click", async () => {
  const { conversation } = chat;
  conversation.system = await askForSettings(conversation.system);
  conversations.save(conversation);
});
window.addEventListener("storage", ({ key }) => {
  const id = conversationOf(key);
  if (!id || chat.isAnsweringIn(id)) return;
  conversations.refresh(id);
  if (id === chat.conversation.id) chat.open(conversations.get(id) ?? conversations.create(""));
  else showChat();
});

whenTokenIsNeeded(async (message) => {
  const token = await askForToken(message);
  if (token) setApiToken(token);
  return token !== "";
});
whenViewChanges((view) => view === "plan" && planView.load());
showTheme();
chat.open(conversations.all[0] ?? conversations.create(""));
if (openView() === "chat") composer.focus();
tryToLoadModel();
