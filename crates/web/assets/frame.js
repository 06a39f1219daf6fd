// Inside Home Assistant: its theme, its menu and its other pages. Runs before the page is drawn, so that it begins in the
// right colours. The frame around it is of the same origin; of another one, nothing can be read.
'use strict';
(() => {
  const home = window.parent;
  const root = document.documentElement;
  let outer = null;
  try { if (home !== window) outer = home.document.documentElement; } catch { /* another origin */ }
  if (!outer) return;

  // Any colour in numbers, however it is written.
  const canvas = Object.assign(document.createElement('canvas'), {width: 1, height: 1});
  const pixel = canvas.getContext('2d', {willReadFrequently: true});
  const numbers = (colour) => {
    pixel.fillStyle = colour;
    pixel.fillRect(0, 0, 1, 1);
    return [...pixel.getImageData(0, 0, 1, 1).data].slice(0, 3);
  };
  const light = (colour) => colour.map((part) => part / 255)
    .map((part) => part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4)
    .reduce((sum, part, which) => sum + part * [0.2126, 0.7152, 0.0722][which], 0);
  const contrast = (one, other) => {
    const [more, less] = [light(one), light(other)].sort((a, b) => b - a);
    return (more + 0.05) / (less + 0.05);
  };

  const take = () => {
    const theme = home.getComputedStyle(outer);
    const of = (name) => theme.getPropertyValue('--' + name).trim();
    if (!of('primary-background-color')) return;
    for (const name of ['primary-background-color', 'card-background-color', 'secondary-background-color',
      'primary-text-color', 'secondary-text-color', 'divider-color']) {
      root.style.setProperty('--' + name, of(name));
    }
    const ground = numbers(of('primary-background-color'));
    const dark = contrast(ground, [0, 0, 0]) < contrast(ground, [255, 255, 255]);
    document.getElementById('dark').media = dark ? 'all' : 'not all';
    root.style.colorScheme = dark ? 'dark' : 'light';
    // Its colour for what can be pressed is made for areas; as text it has to be read, too.
    if (of('primary-color')) {
      const card = numbers(of('card-background-color') || of('primary-background-color'));
      let action = numbers(of('primary-color'));
      for (let step = 0; step < 20 && Math.min(contrast(action, ground), contrast(action, card)) < 5.5; step += 1) {
        action = action.map((part) => Math.round(part + ((dark ? 255 : 0) - part) / 10));
      }
      const on = contrast(action, [255, 255, 255]) > contrast(action, [0, 0, 0]) ? '#fff' : '#000';
      root.style.setProperty('--action', `rgb(${action.join(' ')})`);
      root.style.setProperty('--on-action', on);
    }
  };
  take();
  const changes = new MutationObserver(take);
  changes.observe(outer, {attributes: true, attributeFilter: ['style', 'class']});
  window.addEventListener('pagehide', () => changes.disconnect());
  window.addEventListener('pageshow', (event) => {
    if (event.persisted) { take(); changes.observe(outer, {attributes: true, attributeFilter: ['style', 'class']}); }
  });

  // Where it has no room for its sidebar, Home Assistant puts a bar with a menu button above the page. Since 2026.2 it
  // leaves that to a page that asks for it.
  const remembered = 'haul-narrow';
  let narrow = null;
  const tell = (type, more) => home.postMessage({type: 'home-assistant/' + type, ...more}, location.origin);
  const show = (is) => root.classList.toggle('narrow', is);
  show(sessionStorage.getItem(remembered) === 'yes');
  window.addEventListener('message', ({source, origin, data}) => {
    if (source !== home || origin !== location.origin || data?.type !== 'home-assistant/properties') return;
    if (data.narrow === narrow) return;
    narrow = data.narrow;
    show(narrow);
    sessionStorage.setItem(remembered, narrow ? 'yes' : 'no');
    if (!narrow) tell('unsubscribe-properties');
    tell('subscribe-properties', {kioskMode: narrow});
  });
  tell('subscribe-properties');
  document.addEventListener('click', (event) => {
    if (event.target.closest('#menu')) tell('toggle-menu');
    const link = event.target.closest('a[target=_top]');
    const plain = event.button === 0 && !event.ctrlKey && !event.metaKey && !event.shiftKey && !event.altKey;
    // Who answers knows how to go there without loading everything anew.
    if (link && plain && narrow !== null) {
      event.preventDefault();
      tell('navigate', {path: link.getAttribute('href')});
    }
  });
})();
