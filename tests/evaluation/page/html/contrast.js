// Texts whose colour differs from the ground behind it by less than a contrast of 4.5 (WCAG 2.2, 1.4.3).
(() => {
  const parse = (colour) => {
    const [red, green, blue, alpha = "1"] = colour.match(/[\d.]+/g);
    return { rgb: [red, green, blue].map(Number), alpha: Number(alpha) };
  };
  const light = (rgb) => {
    const [red, green, blue] = rgb.map((part) => (part / 255 <= 0.04045 ? part / 255 / 12.92 : ((part / 255 + 0.055) / 1.055) ** 2.4));
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
  };
  const ground = (element) => {
    for (let one = element; one; one = one.parentElement) {
      const found = parse(getComputedStyle(one).backgroundColor);
      if (found.alpha === 1) return found.rgb;
    }
    return [255, 255, 255];
  };
  const poor = [];
  for (const element of document.querySelectorAll("body *")) {
    const own = [...element.childNodes].some((node) => node.nodeType === 3 && node.textContent.trim());
    const visible = element.checkVisibility && element.checkVisibility();
    if (!own || !visible || element.closest("svg, noscript, option, .skip, .out, .qx, .cell.qx")) continue;
    const style = getComputedStyle(element);
    const [front, back] = [light(parse(style.color).rgb), light(ground(element))];
    const contrast = (Math.max(front, back) + 0.05) / (Math.min(front, back) + 0.05);
    if (contrast < 4.5) poor.push(`${element.tagName}.${element.className}: ${element.textContent.slice(0, 30)} ${contrast.toFixed(2)}`);
  }
  return poor;
})()
