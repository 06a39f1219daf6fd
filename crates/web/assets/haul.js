// Everything works without this script. With it, pages follow what happens, and forms keep secrets that were typed.
'use strict';
(() => {
  const base = document.body.dataset.base;

  const parse = (text) => new DOMParser().parseFromString(text, 'text/html');

  // Puts the new state of every part that lives into the page; what has not changed is not touched.
  const busy = (part) => {
    const active = document.activeElement;
    return part.contains(active) && active.matches('input, select, textarea');
  };
  const parts = (page) => [...page.querySelectorAll('[data-live]')].map((part) => part.id).join();
  const show = (fresh) => {
    // A job came or went.
    if (parts(fresh) !== parts(document) && !busy(document.getElementById('main'))) { location.reload(); return; }
    for (const part of document.querySelectorAll('[data-live]')) {
      const next = fresh.getElementById(part.id);
      if (!next || busy(part) || next.innerHTML === part.innerHTML) continue;
      const open = [...part.querySelectorAll('details[open]')].map((details) => details.id);
      const focused = part.contains(document.activeElement)
        ? [...part.querySelectorAll('a, button, summary')].indexOf(document.activeElement) : -1;
      if (part.hasAttribute('data-announce') && next.textContent !== part.textContent) {
        document.getElementById('announce').textContent = next.textContent.trim().replace(/\s+/g, ' ');
      }
      part.replaceChildren(...next.childNodes);
      for (const id of open) { const details = document.getElementById(id); if (details) details.open = true; }
      if (focused >= 0) {
        const candidates = part.querySelectorAll('a, button, summary');
        if (candidates[focused]) candidates[focused].focus({preventScroll: true});
      }
    }
  };

  let loading = false;
  let again = false;
  const refresh = async () => {
    if (document.hidden || loading) { again = true; return; }
    loading = true;
    again = false;
    try {
      const address = new URL(location.href);
      address.searchParams.delete('done');
      const answer = await fetch(address, {headers: {accept: 'text/html'}});
      if (answer.ok && !answer.redirected) show(parse(await answer.text()));
      else if (answer.redirected) location.reload();
    } catch { /* the service is away; the next change or tick asks again */ }
    loading = false;
    if (again && !document.hidden) refresh();
  };

  if (document.body.hasAttribute('data-inside') && document.querySelector('[data-live]')) {
    const channel = 'BroadcastChannel' in window ? new BroadcastChannel('haul' + base) : null;
    // Only one page shows the log.
    const heed = (kind) => { if (kind !== 'log' || document.getElementById('log')) refresh(); };
    if (channel) channel.onmessage = (event) => heed(event.data);
    let heard = 0;
    const listen = () => new Promise((ended) => {
      const stream = new EventSource(base + '/api/v1/stream');
      for (const kind of ['change', 'log']) {
        stream.addEventListener(kind, () => {
          heard = Date.now();
          heed(kind);
          if (channel) channel.postMessage(kind);
        });
      }
      stream.onerror = () => { if (stream.readyState === EventSource.CLOSED) ended(); };
    });
    const pause = () => new Promise((over) => setTimeout(over, 15000));
    const follow = async () => { for (;;) { await listen(); await pause(); } };
    if (navigator.locks && channel) {
      // One tab listens for all of them; when it is closed, another one does.
      navigator.locks.request('haul' + base, follow);
    } else {
      // Without locks (plain http from another machine), a tab asks while somebody looks at it.
      setInterval(() => { if (!document.hidden && Date.now() - heard > 4000) refresh(); }, 5000);
    }
    // Times go on, too.
    setInterval(refresh, 60000);
    document.addEventListener('visibilitychange', () => { if (!document.hidden && again) refresh(); });
    if (location.search.includes('done=')) {
      const address = new URL(location.href);
      address.searchParams.delete('done');
      history.replaceState(null, '', address);
    }
  }

  // A form that can be wrong in many places: the answer replaces it, and secrets stay typed.
  document.addEventListener('submit', async (event) => {
    const form = event.target;
    if (!form.hasAttribute('data-keep')) return;
    event.preventDefault();
    const data = new URLSearchParams(new FormData(form, event.submitter));
    for (const button of form.querySelectorAll('button')) button.disabled = true;
    const words = event.submitter && event.submitter.textContent;
    if (event.submitter) event.submitter.textContent = 'Please wait…';
    const secrets = [...form.querySelectorAll('input[type=password]')].map((input) => [input.name, input.value]);
    try {
      const answer = await fetch(form.action, {method: 'POST', body: data});
      if (answer.redirected) { location.assign(answer.url); return; }
      const fresh = parse(await answer.text()).getElementById('main');
      document.getElementById('main').replaceWith(document.adoptNode(fresh));
      for (const [name, value] of secrets) {
        const input = document.querySelector('input[name="' + CSS.escape(name) + '"]');
        if (input) input.value = value;
      }
      const said = document.querySelector('[aria-invalid], [role=alert], #main [role=status]');
      if (said) { if (!said.matches('input, select, textarea')) said.tabIndex = -1; said.focus(); said.scrollIntoView({block: 'center'}); }
    } catch {
      for (const button of form.querySelectorAll('button')) button.disabled = false;
      if (event.submitter) event.submitter.textContent = words;
      document.getElementById('announce').textContent = 'Haul does not answer. Try again.';
    }
  });
})();
