// Elements, made of their parts.
//
// In:       a tag, its attributes, its children.
// Out:      the element.
// Promise:  what comes from data becomes text and nothing else: there is no way from here to markup.

const SVG = "http://www.w3.org/2000/svg";

/** An HTML element. `onclick` and its like are listeners; `true` is an attribute without a value, `null` none at all. */
export function h(tag, given = {}, ...children) {
  return filled(document.createElement(tag), given, children);
}

/** An element of a picture. */
export function s(tag, given = {}, ...children) {
  return filled(document.createElementNS(SVG, tag), given, children);
}

function filled(element, given, children) {
  for (const [name, value] of Object.entries(given)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value === true ? "" : String(value));
  }
  // Text that is not there is none: `append` would write "null".
  element.append(
    ...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false),
  );
  return element;
}

/** A choice among `options`, each `[value, label]` or `{group, options}`. */
export function select(given, options, chosen) {
  const option = ([value, label]) => h("option", { value, selected: value === chosen }, label);
  const of = (one) => (Array.isArray(one) ? option(one) : h("optgroup", { label: one.group }, one.options.map(option)));
  return h("select", given, options.map(of));
}

/** A field with its name before it. */
export function field(name, input, hint) {
  return h("label", { class: "field" }, h("span", {}, name), input, hint ? h("small", {}, hint) : null);
}

/** Puts others in the place of the children, and the keyboard back to where it was among them. */
export function redraw(parent, ...children) {
  const at = parent.contains(document.activeElement) ? document.activeElement : null;
  const said = at?.name ? ["name", at.name] : ["aria-label", at?.getAttribute("aria-label")];
  parent.replaceChildren(...children);
  if (said[1]) parent.querySelector(`[${said[0]}="${CSS.escape(said[1])}"]`)?.focus();
}

let ids = 0;

/** An id nobody else has. */
export function newId(of) {
  ids += 1;
  return `${of}-${ids}`;
}

/** Draws `draw(width)` into a box, and again when its width is another. */
export function responsive(draw) {
  const box = h("div", { class: "drawing" });
  let width = 0;
  new ResizeObserver(([entry]) => {
    const now = Math.floor(entry.contentRect.width);
    if (now === width || now === 0) return;
    width = now;
    box.replaceChildren(draw(width));
  }).observe(box);
  return box;
}
