// What the page can do beyond being read: filter rows, zoom and pan the timeline, tell about what is under the pointer, and keep the
// stretch of time that is shown in the address. Nothing depends on it.
"use strict";
(() => {
  const $ = (s, in_ = document) => in_.querySelector(s), $$ = (s, in_ = document) => [...in_.querySelectorAll(s)];
  const scroll = $(".scroll"), tools = $(".tools"), tip = $("#tip"), out = $("output", tools), input = $("input", tools), hits = $(".hits", tools);
  const length = Math.max(+scroll.dataset.length, 1), charts = $$(".chart", scroll);
  const faults = $$("#faults tr[data-f]").map(r => ({ id: r.dataset.f, begin: +r.dataset.b, over: +r.dataset.o, kind: $("b", r).textContent }));
  tools.hidden = false;

  const clock = t => {
    const p = (n, w = 2) => String(n).padStart(w, "0");
    t = Math.round(Math.max(t, 0));
    return p(Math.floor(t / 3600000)) + ":" + p(Math.floor(t / 60000) % 60) + ":" + p(Math.floor(t / 1000) % 60) + "." + p(t % 1000, 3);
  };
  const plot = () => { // the part of the drawing that shows the whole run, and what of it is in sight
    const label = $("th", charts[0]).offsetWidth;
    return { label, wide: Math.max(charts[0].offsetWidth - label, 1), seen: Math.max(scroll.clientWidth - label, 1) };
  };
  const inSight = () => {
    const p = plot(), from = scroll.scrollLeft / p.wide * length;
    return [from, Math.min(from + p.seen / p.wide * length, length)];
  };

  // Words that the server left out because they do not fit on a narrow axis.
  const word = (after, cls, x, y, text) => {
    const t = document.createElementNS("http://www.w3.org/2000/svg", "text");
    for (const [k, v] of Object.entries({ class: cls + " added", x, y, dx: 4 })) t.setAttribute(k, v);
    t.textContent = text;
    after.after(t);
  };
  const isText = e => e && e.tagName === "text";
  const said = e => e.dataset.say || $("title", e).textContent;
  const fit = () => {
    $$(".added").forEach(t => t.remove());
    $$("[visibility]", scroll).forEach(t => t.removeAttribute("visibility"));
    const wide = plot().wide, px = (e, name) => parseFloat(e.getAttribute(name)) / 100 * wide;
    for (const r of $$(".topic rect[class], .axis .scene", scroll)) {
      const c = r.getAttribute("class"), scene = c.startsWith("scene");
      if (!scene && (c.length > 1 || "gwbp".indexOf(c) < 0)) continue;
      const w = said(r).split("\n")[0], next = r.nextElementSibling;
      if (isText(next) && next.textContent === w || px(r, "width") < 6.4 * w.length + 8) continue;
      if (isText(next)) next.setAttribute("visibility", "hidden");
      word(r, scene ? "t" : c + "w", r.getAttribute("x"), scene ? 12 : c === "g" ? 11 : 14, w);
    }
    const labels = $$(".fl", scroll);
    let free = -1;
    labels.forEach((g, i) => {
      const hit = $("rect", g), x = px(hit, "x"), room = (i + 1 < labels.length ? px($("rect", labels[i + 1]), "x") : wide) - x, has = $("text", g);
      const full = said(g).split("\n")[0], fits = [full, full.split(" ")[0]].find(w => room > 6.4 * w.length + 6);
      if (has) has.setAttribute("visibility", "hidden");
      if (!fits || x < free) return;
      word(hit, "f", hit.getAttribute("x"), 14, fits);
      free = x + 6.4 * fits.length;
    });
  };

  // The stretch of time that is shown.
  let settled = 0, quiet = false;
  const tell = () => {
    const [a, b] = inSight(), whole = a <= 1 && b >= length - 1;
    out.value = whole ? "" : clock(a) + " to " + clock(b);
    return whole ? "" : "t=" + (a / 1000).toFixed(3) + "-" + (b / 1000).toFixed(3);
  };
  const show = (from, to, keep) => {
    const span = Math.min(Math.max(to - from, length / 2000, 20), length);
    from = Math.min(Math.max(from, 0), length - span);
    const zoom = length / span;
    scroll.classList.toggle("zoomed", zoom > 1.001);
    scroll.style.setProperty("--zoom", zoom);
    quiet = true;
    scroll.scrollLeft = from / length * plot().wide;
    requestAnimationFrame(() => { fit(); const h = tell(); quiet = false; if (!keep) remember(h); });
  };
  const remember = h => history.replaceState(null, "", h ? "#" + h : location.pathname + location.search);
  const zoomBy = (f, at = .5) => {
    const [a, b] = inSight(), mid = a + (b - a) * at, span = (b - a) * f;
    show(mid - span * at, mid + span * (1 - at));
  };
  const fromHash = () => {
    const h = decodeURIComponent(location.hash.slice(1)), m = /^t=([\d.]+)(?:-([\d.]+))?(?:~\d+)?$/.exec(h);
    const aim = h && document.getElementById(h);
    if (m) {
      const t = m[1] * 1000, around = Math.max(length / 20, 5000);
      m[2] ? show(t, m[2] * 1000, true) : show(t - around, t + around, true);
      (aim || scroll).scrollIntoView({ block: aim ? "center" : "start" });
    }
    for (let d = aim; d; d = d.parentElement) if (d.tagName === "DETAILS") d.open = true;
    if (aim && !m) aim.scrollIntoView({ block: "center" });
  };
  addEventListener("hashchange", fromHash);
  scroll.addEventListener("scroll", () => {
    if (quiet || !scroll.classList.contains("zoomed")) return;
    clearTimeout(settled);
    settled = setTimeout(() => remember(tell()), 150);
  });
  addEventListener("resize", () => { clearTimeout(settled); settled = setTimeout(() => { fit(); tell(); }, 150); });
  tools.addEventListener("click", e => {
    const z = e.target.dataset.z;
    if (z === "0") show(0, length); else if (z) zoomBy(z === "+" ? .5 : 2);
  });
  scroll.addEventListener("wheel", e => {
    if (!e.ctrlKey && !e.metaKey) return;
    e.preventDefault();
    const p = plot(), x = e.clientX - scroll.getBoundingClientRect().left - p.label;
    zoomBy(e.deltaY > 0 ? 1.25 : .8, Math.min(Math.max(x / p.seen, 0), 1));
  }, { passive: false });
  scroll.addEventListener("keydown", e => {
    if (e.target !== scroll || e.ctrlKey || e.metaKey || e.altKey) return;
    if (e.key === "+" || e.key === "=") zoomBy(.5);
    else if (e.key === "-") zoomBy(2);
    else if (e.key === "0") show(0, length);
    else if ((e.key === "n" || e.key === "p") && faults.length) {
      const [a, b] = inSight(), mid = (a + b) / 2, whole = b - a > length * .99;
      const f = e.key === "n" ? faults.find(f => whole || f.begin > mid) : faults.findLast(f => f.over < mid);
      if (f) around(f);
    } else return;
    e.preventDefault();
  });
  const around = f => { const room = Math.max((f.over - f.begin) / 5, 500); show(f.begin - room, f.over + room); };
  scroll.addEventListener("click", e => {
    const g = e.target.closest(".fl"), f = g && faults.find(f => f.id === g.dataset.f);
    if (f) around(f);
  });
  let grip = null; // pan by dragging
  scroll.addEventListener("pointerdown", e => {
    if (e.pointerType === "mouse" && e.button === 0 && scroll.classList.contains("zoomed") && e.target.closest("td")) grip = { x: e.clientX, left: scroll.scrollLeft };
  });
  addEventListener("pointermove", e => { if (grip) scroll.scrollLeft = grip.left + grip.x - e.clientX; });
  addEventListener("pointerup", () => { grip = null; });

  // What is under the pointer, with the time since the fault.
  scroll.addEventListener("pointermove", e => {
    const td = e.target.closest("td");
    tip.hidden = !td || !!grip;
    if (tip.hidden) return;
    for (const t of $$("title", e.target)) { e.target.dataset.say = t.textContent; t.remove(); }
    const box = td.getBoundingClientRect(), t = (e.clientX - box.left) / box.width * length, f = faults.findLast(f => f.begin <= t), row = td.parentElement;
    const held = e.target.closest("[data-say]"), name = [row.dataset.l, row.className === "topic" ? $("th span", row).textContent : ""].join(" ").trim();
    tip.textContent = [name, held && held.dataset.say, clock(t) + (f ? "   T+" + ((t - f.begin) / 1000).toFixed(3) + " s since " + f.id + " " + f.kind + (t > f.over ? " (mended)" : "") : "")].filter(Boolean).join("\n");
    const w = tip.offsetWidth, h = tip.offsetHeight;
    tip.style.left = Math.max(Math.min(e.clientX + 14, innerWidth - w - 8), 4) + "px";
    tip.style.top = (e.clientY + 18 + h > innerHeight ? e.clientY - h - 12 : e.clientY + 18) + "px";
  });
  scroll.addEventListener("pointerleave", () => { tip.hidden = true; });

  // The filter, over the timeline's rows and the log's lines.
  const rows = $$(".chart tr[data-l], .log tbody tr"), texts = new Map();
  const textOf = r => {
    if (!texts.has(r)) texts.set(r, [r.dataset.l, r.textContent, ...$$("[data-say]", r).map(e => e.dataset.say)].join(" "));
    return texts.get(r);
  };
  const filter = () => {
    let re;
    try { re = new RegExp(input.value, "i"); } catch { input.setAttribute("aria-invalid", "true"); return; }
    input.removeAttribute("aria-invalid");
    let n = 0;
    for (const r of rows) { r.hidden = !re.test(textOf(r)); n += !r.hidden; }
    for (const b of $$(".chart tbody:not(.axis)")) b.hidden = !$$("tr[data-l]", b).some(r => !r.hidden);
    for (const d of $$(".fold.all, #log .fold")) if (input.value) d.open = true;
    hits.textContent = input.value ? n + " of " + rows.length + " lines" : "";
  };
  input.addEventListener("input", filter);

  fit();
  fromHash();
})();
