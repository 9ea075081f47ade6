// What pages do beyond what a browser does by itself. Every page works without it.
"use strict";
(() => {
  const { base, root } = document.body.dataset;
  const main = document.getElementById("content");
  const $ = (selector, within = document) => within.querySelector(selector);
  const $$ = (selector, within = document) => [...within.querySelectorAll(selector)];
  const remembered = (name) => { try { return localStorage.getItem(`audithog.${name}`); } catch { return null; } };
  const remember = (name, value) => { try { localStorage.setItem(`audithog.${name}`, value); } catch { /* Private windows keep nothing. */ } };
  const typing = () => /^(INPUT|SELECT|TEXTAREA)$/.test(document.activeElement?.tagName ?? "");

  const parse = (html) => {
    const template = document.createElement("template");
    template.innerHTML = html;
    return template.content;
  };

  /** What is within a page. */
  const part = async (url) => {
    const response = await fetch(url, { headers: { "x-part": "1" } });
    if (response.status === 401) location.reload();
    return parse(await response.text());
  };

  // Times

  let utc = remembered("zone") === "utc";
  const two = (number) => String(number).padStart(2, "0");
  const months = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

  /** Year, month from 0, day, hour, minute, second in the zone that was chosen. */
  const fields = (date) => utc
    ? [date.getUTCFullYear(), date.getUTCMonth(), date.getUTCDate(), date.getUTCHours(), date.getUTCMinutes(), date.getUTCSeconds()]
    : [date.getFullYear(), date.getMonth(), date.getDate(), date.getHours(), date.getMinutes(), date.getSeconds()];

  const shown = (element) => {
    const date = new Date(element.dateTime);
    const [year, month, day, hour, minute, second] = fields(date);
    const clock = `${two(hour)}:${two(minute)}`;
    switch (element.dataset.to) {
      case "minute": return clock;
      case "clock": return `${clock}:${two(second)}`;
      case "day": return `${months[month]} ${day}, ${clock}`;
      case "second": return `${year}-${two(month + 1)}-${two(day)} ${clock}:${two(second)}`;
      default: return `${year}-${two(month + 1)}-${two(day)} ${clock}:${two(second)}.${element.dateTime.slice(20, 23).replace("Z", "")}`;
    }
  };

  const times = (within) => {
    for (const element of $$("time[datetime]", within)) {
      element.textContent = shown(element);
      element.title = element.dateTime;
    }
  };

  const zone = $("#zone");
  const name = () => utc ? "UTC" : Intl.DateTimeFormat().resolvedOptions().timeZone || "local";
  const turn = () => {
    utc = !utc;
    remember("zone", utc ? "utc" : "local");
    zone.textContent = name();
    times(document);
  };
  if (zone) {
    zone.hidden = false;
    zone.textContent = name();
    zone.addEventListener("click", turn);
  }

  // How long ago the last row was written

  const pulse = $("#pulse");
  let last = null;
  const age = (seconds) => {
    if (seconds < 90) return `${Math.round(seconds)} s`;
    if (seconds < 5400) return `${Math.round(seconds / 60)} min`;
    if (seconds < 172800) return `${Math.round(seconds / 3600)} h`;
    return `${Math.round(seconds / 86400)} days`;
  };
  const beat = () => {
    if (!last) return;
    pulse.classList.toggle("broken", Boolean(last.error));
    if (last.error) { pulse.textContent = last.error; return; }
    if (!last.seq) { pulse.textContent = "no row yet"; return; }
    const seconds = last.age + (performance.now() - last.at) / 1000;
    // Silence for longer than two of the log's own signs of life.
    pulse.classList.toggle("stale", seconds > 620);
    pulse.textContent = `last row ${age(seconds)} ago`;
  };
  let listening = false;
  const listen = async () => {
    if (document.hidden || listening) return;
    listening = true;
    try {
      const response = await fetch(pulse.dataset.pulse);
      if (!response.ok) throw new Error(response.statusText);
      last = { ...await response.json(), at: performance.now() };
    } catch {
      last = { error: "the console does not answer" };
    }
    listening = false;
    beat();
  };
  if (pulse) {
    listen();
    setInterval(listen, 5000);
    setInterval(beat, 1000);
  }

  // What is new on a page of figures

  let dragging = false;
  const occupied = () => document.hidden || dragging || typing() || $("dialog[open]") || $("details[open]", main)
    || !(getSelection()?.isCollapsed ?? true);
  let refreshing = false;
  const refresh = async () => {
    if (refreshing || occupied()) return;
    refreshing = true;
    try {
      const fresh = await part(location.href);
      if (occupied()) return;
      const focused = document.activeElement;
      const place = main.contains(focused) ? $$("a, button", main).indexOf(focused) : -1;
      main.replaceChildren(fresh);
      settle(main);
      if (place >= 0) $$("a, button", main)[place]?.focus({ preventScroll: true });
    } catch { /* The pulse says it. */ } finally { refreshing = false; }
  };
  if (main.dataset.refresh) setInterval(refresh, Number(main.dataset.refresh) * 1000);

  // Zooming: a range is dragged over a chart

  const zoomable = (chart) => {
    const plot = $(".plot", chart);
    const svg = $("svg", plot);
    const [from, to] = [chart.dataset.from, chart.dataset.to].map((text) => new Date(text).getTime());
    let start = null;
    let mark = null;
    const share = (event) => {
      const box = svg.getBoundingClientRect();
      return Math.min(1, Math.max(0, (event.clientX - box.left) / box.width));
    };
    const stop = () => { start = null; dragging = false; mark?.remove(); mark = null; };
    svg.addEventListener("dragstart", (event) => event.preventDefault());
    svg.addEventListener("pointerdown", (event) => {
      if (event.button !== 0 || event.pointerType === "touch") return;
      start = share(event);
    });
    svg.addEventListener("pointermove", (event) => {
      if (start === null) return;
      const now = share(event);
      if (!mark && Math.abs(now - start) < 0.01) return;
      if (!mark) {
        dragging = true;
        svg.setPointerCapture(event.pointerId);
        mark = document.createElement("div");
        mark.className = "zooming";
        plot.append(mark);
      }
      const box = svg.getBoundingClientRect();
      mark.style.left = `${svg.parentElement.clientWidth - box.width + Math.min(now, start) * box.width}px`;
      mark.style.width = `${Math.abs(now - start) * box.width}px`;
    });
    svg.addEventListener("pointerup", (event) => {
      if (start === null || !mark) { stop(); return; }
      const range = [start, share(event)].sort((a, b) => a - b).map((at) => new Date(from + at * (to - from)).toISOString());
      stop();
      // The pointer may be above a bar, which is a link.
      svg.addEventListener("click", (click) => click.preventDefault(), { once: true, capture: true });
      const url = new URL(chart.dataset.zoom, location.href);
      url.searchParams.set("since", range[0]);
      url.searchParams.set("until", range[1]);
      location.assign(url);
    });
    svg.addEventListener("pointercancel", stop);
  };

  // A row beside the log

  const panel = document.createElement("dialog");
  panel.id = "panel";
  panel.setAttribute("aria-label", "Row");
  document.body.append(panel);
  let chosen = null;

  const choose = (row) => {
    chosen?.classList.remove("chosen");
    chosen = row;
    row?.classList.add("chosen");
    row?.scrollIntoView({ block: "nearest" });
  };

  const open = async (row) => {
    choose(row);
    let content;
    try { content = await part(row.dataset.row); } catch { location.assign(row.dataset.row); return; }
    if (chosen !== row) return;
    const close = document.createElement("button");
    close.type = "button";
    close.className = "close";
    close.textContent = "Close";
    close.addEventListener("click", () => panel.close());
    panel.replaceChildren(close, content);
    const heading = $("h1 .path", panel);
    if (heading) {
      const whole = document.createElement("a");
      whole.href = row.dataset.row;
      whole.className = heading.className;
      whole.textContent = heading.textContent;
      heading.replaceWith(whole);
    }
    settle(panel);
    if (!panel.open) panel.show();
    panel.scrollTop = 0;
  };

  document.addEventListener("click", (event) => {
    const row = event.target.closest?.("tr[data-row]");
    if (!row || event.defaultPrevented || event.button !== 0 || event.ctrlKey || event.metaKey || event.shiftKey) return;
    const link = event.target.closest("a, button");
    if (link && !link.closest("td.t")) return;
    if (!(getSelection()?.isCollapsed ?? true)) return;
    event.preventDefault();
    open(row);
  });

  const copy = async (article) => {
    const response = await fetch(article.dataset.json);
    await navigator.clipboard.writeText(await response.text());
    const button = $("#copy", article);
    if (button) {
      button.textContent = "Copied";
      setTimeout(() => { button.textContent = "Copy as JSON"; }, 1500);
    }
  };

  // The log: further back

  const table = $("#log");

  /** Rows that are far away are taken out, and read again when they come near: any number of them takes the same memory. */
  const far = table && new IntersectionObserver((entries) => {
    for (const { target, isIntersecting, boundingClientRect } of entries) {
      if (!isIntersecting && target.rows.length > 1 && boundingClientRect.height > 0) empty(target, boundingClientRect.height);
      if (isIntersecting && target.classList.contains("empty")) fill(target);
    }
  }, { rootMargin: "4000px 0px" });

  const empty = (body, height) => {
    // Only a full page is the same when it is read again: others ended when the time was up.
    if (body.contains(chosen) || body.rows.length < 100) return;
    const row = document.createElement("tr");
    row.className = "gap";
    const cell = document.createElement("td");
    cell.colSpan = 8;
    cell.style.height = `${height}px`;
    cell.style.padding = "0";
    row.append(cell);
    body.replaceChildren(row);
    body.classList.add("empty");
  };

  const fill = async (body) => {
    body.classList.remove("empty");
    try {
      const rows = $("tbody", await part(body.dataset.url));
      times(rows);
      body.replaceChildren(...rows.children);
    } catch { body.classList.add("empty"); }
  };

  const more = () => {
    const link = $("#more");
    if (!link) return;
    let busy = false;
    // Several changes may be told at once: the last one is how it is.
    const observer = new IntersectionObserver(async (entries) => {
      if (!entries.at(-1).isIntersecting || busy) return;
      busy = true;
      try {
        const content = await part(link.href);
        const rows = $("tbody", content);
        if (rows.children.length > 0) {
          rows.dataset.url = link.href;
          times(rows);
          $("table", table).append(rows);
          far.observe(rows);
        }
        observer.disconnect();
        link.closest(".end").replaceWith($(".end", content));
        more();
      } catch {
        // The link is still where it was, and that alone is no change: it is looked at again.
        setTimeout(() => { busy = false; observer.unobserve(link); observer.observe(link); }, 3000);
      }
    }, { rootMargin: "1200px 0px" });
    observer.observe(link);
  };

  // The log: new rows as they come

  const live = () => {
    const button = $("#live");
    if (!button || !table) return;
    let source = null;
    let seen = table.dataset.head;
    let held = [];
    const fresh = document.createElement("tbody");
    fresh.className = "fresh";
    $("thead", table).after(fresh);
    const note = document.createElement("button");
    note.id = "fresh";
    note.type = "button";
    note.hidden = true;
    table.before(note);

    const gap = (count) => {
      const row = document.createElement("tr");
      row.className = "gap";
      const cell = document.createElement("td");
      cell.colSpan = 8;
      const link = document.createElement("a");
      link.href = location.href;
      link.textContent = `${count.toLocaleString("en")} more rows came meanwhile: read the log again`;
      cell.append(link);
      row.append(cell);
      return row;
    };

    const show = () => {
      for (const { rows, passed } of held) {
        const content = parse(`<table><tbody>${rows}</tbody></table>`);
        times(content);
        if (passed > 0) fresh.prepend(gap(passed));
        fresh.prepend(...$$("tr", content));
      }
      held = [];
      note.hidden = true;
      if (fresh.rows.length > 1500) location.reload();
    };

    const atTop = () => scrollY < 120;
    const took = (event) => {
      seen = event.lastEventId;
      held.push(JSON.parse(event.data));
      const count = held.reduce((sum, { count, passed }) => sum + count + passed, 0);
      if (atTop() && !panel.open) { show(); return; }
      while (held.length > 50) {
        const { count, passed } = held.shift();
        held[0].passed += count + passed;
      }
      note.textContent = `${count.toLocaleString("en")} new rows`;
      note.hidden = false;
    };
    note.addEventListener("click", () => { scrollTo(0, 0); show(); });
    addEventListener("scroll", () => { if (held.length && atTop() && !panel.open) show(); }, { passive: true });

    const set = (on) => {
      button.setAttribute("aria-pressed", String(on));
      button.textContent = on ? "Live" : "Paused";
      source?.close();
      source = null;
      if (!on) return;
      const url = new URL(table.dataset.live, location.href);
      url.searchParams.set("after", seen);
      source = new EventSource(url);
      source.addEventListener("message", took);
      // After a refusal a browser does not try again by itself.
      source.addEventListener("error", ({ target }) => {
        if (target !== source || target.readyState !== EventSource.CLOSED) return;
        button.textContent = "Reconnecting";
        setTimeout(() => { if (target === source) set(true); }, 3000);
      });
    };
    // A page that nobody sees needs no connection of the few that a browser has.
    let paused = false;
    document.addEventListener("visibilitychange", () => {
      if (document.hidden && source) { paused = true; source.close(); } else if (!document.hidden && paused) { paused = false; set(true); }
    });
    button.hidden = false;
    button.addEventListener("click", () => set(!source));
    addEventListener("pagehide", () => source?.close());
    addEventListener("pageshow", (event) => { if (event.persisted) set(true); });
    set(true);
  };

  /** Times that somebody gives are of the zone that is shown. */
  const jump = (form) => {
    const field = $("input[type=datetime-local]", form);
    form.addEventListener("submit", () => {
      if (!field.value) return;
      const time = new Date(utc ? `${field.value}Z` : field.value);
      const given = document.createElement("input");
      given.type = "hidden";
      given.name = field.name;
      given.value = time.toISOString();
      field.removeAttribute("name");
      form.append(given);
    });
  };

  // Keys

  const rows = () => $$("tr[data-row]", panel.open && !panel.contains(chosen) ? document.getElementById("content") : document);
  const step = (by) => {
    const all = rows();
    if (!all.length) return;
    const at = all.indexOf(chosen);
    const next = at < 0 ? all[by > 0 ? 0 : all.length - 1] : all[Math.min(all.length - 1, Math.max(0, at + by))];
    if (panel.open) open(next); else choose(next);
  };
  let prefix = false;
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key === "Escape") {
      if (typing()) document.activeElement.blur();
      panel.close();
      return;
    }
    if (typing()) return;
    const go = prefix && { o: "", l: "log", h: "health" }[event.key];
    prefix = false;
    if (go !== undefined && go !== false) { location.assign(go ? `${base}/${go}` : root); return; }
    switch (event.key) {
      case "/": event.preventDefault(); $("#search")?.focus(); break;
      case "j": step(1); break;
      case "k": step(-1); break;
      case "Enter": if (chosen && document.activeElement.tagName !== "A" && document.activeElement.tagName !== "BUTTON") open(chosen); break;
      case "y": { const article = $("article.row"); if (article) copy(article); break; }
      case " ": if ($("#live") && document.activeElement.tagName !== "BUTTON") { event.preventDefault(); $("#live").click(); } break;
      case "g": prefix = true; break;
      case "z": if (zone) turn(); break;
      case "?": $("#keys").showModal(); break;
      default:
    }
  });

  /** Whatever was just put into the page. */
  const settle = (within) => {
    times(within);
    for (const chart of $$(".chart", within)) zoomable(chart);
    for (const form of $$("form.jump", within)) jump(form);
    for (const box of $$("[data-current]", within)) $(`[id="r${box.dataset.current}"]`, box)?.classList.add("current");
    for (const article of $$("article.row", within)) {
      const button = $("#copy", article);
      if (button && navigator.clipboard) {
        button.hidden = false;
        button.addEventListener("click", () => copy(article));
      }
    }
  };

  settle(document);
  if (table) {
    for (const body of $$("tbody", table)) {
      body.dataset.url = location.href;
    }
    more();
    live();
  }
})();
