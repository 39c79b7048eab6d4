// Shows the run's report in a frame. When there is a newer one it is loaded unseen, brought to where the reader was, and shown.
"use strict";
(() => {
  const state = document.getElementById("state"), main = document.getElementById("reports");
  let shown = null, next = null, has = 0, wanted = 0;

  // view is what can be asked of a frame: its window, unless the reader has gone from the report to a file of evidence.
  const view = (frame) => {
    try {
      return frame.contentWindow.location.pathname.endsWith("/report.html") ? frame.contentWindow : null;
    } catch { return null; }
  };
  // folds are the parts of a page that can be opened, by what they are called.
  const folds = (w) => new Map([...w.document.querySelectorAll("details")].map((d, i) =>
    [d.id || i + (d.querySelector("summary")?.textContent ?? ""), d]));

  // busy is a reader who types or has marked something: a new page would take it away.
  const busy = (w) => !w || !w.getSelection().isCollapsed || /^(INPUT|TEXTAREA|SELECT)$/.test(w.document.activeElement?.tagName ?? "");

  const swap = (page) => {
    const to = view(next), from = shown && view(shown);
    if (!to) { // the server is gone: what is shown stays
      next.remove();
      next = null;
      return;
    }
    if (from) {
      const was = folds(from);
      folds(to).forEach((d, name) => { d.open = was.get(name)?.open ?? d.open; });
      to.scrollTo({ left: from.scrollX, top: from.scrollY, behavior: "instant" });
    }
    has = page;
    next.className = "";
    shown?.remove();
    [shown, next] = [next, null];
  };

  const load = () => {
    if (next || has === wanted || (shown && busy(view(shown)))) return;
    const hash = (shown && view(shown).location.hash) || location.hash;
    const page = wanted;
    next = document.createElement("iframe");
    next.className = "next";
    next.title = "the run's report";
    next.addEventListener("load", () => swap(page), { once: true });
    next.src = "report.html?page=" + page + hash;
    main.append(next);
  };

  // The address shows what the report's own address shows, so that it can be handed on.
  setInterval(() => {
    const hash = shown && view(shown)?.location.hash;
    if (hash && hash !== location.hash) history.replaceState(null, "", hash);
    load();
  }, 1000);
  addEventListener("hashchange", () => { const w = shown && view(shown); if (w) w.location.hash = location.hash; });

  const events = new EventSource("events");
  events.onmessage = (e) => {
    const s = JSON.parse(e.data);
    state.textContent = s.run + ": " + s.state + (s.why ? " (" + s.why + ")" : "") + ", " + s.at;
    document.title = s.state + " – " + s.run;
    document.body.className = { "under way": "run", ended: "end" }[s.state] ?? "bad";
    wanted = s.page;
    load();
  };
  events.onerror = () => {
    state.textContent = "apd watch has ended or cannot be reached: what is shown is the last that came";
    document.body.className = "bad";
  };
})();
