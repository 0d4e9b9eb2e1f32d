// What a note may be. Every fault is reported, each with the field it is in.

const KNOWN = ["text", "tags"];
const TAG = /^[\p{L}\p{N}-]{1,30}$/u;

export function validNote(body) {
  if (typeof body !== "object" || body === null || Array.isArray(body)) {
    return { errors: [{ field: "", message: "must be an object" }] };
  }
  const { text, tags = [] } = body;
  const errors = Object.keys(body)
    .filter((key) => !KNOWN.includes(key))
    .map((key) => ({ field: key, message: `is unknown: expected ${KNOWN.join(" or ")}` }));
  const check = (field, fine, message) => fine || errors.push({ field, message });

  check("text", typeof text === "string" && text.trim() !== "", "must be a text that is not empty");
  check("text", !(text?.length > 2000), "must have at most 2000 characters");
  if (Array.isArray(tags)) {
    check("tags", tags.length <= 10, "must be at most 10");
    tags.forEach((tag, i) => {
      const fine = typeof tag === "string" && TAG.test(tag);
      check(`tags[${i}]`, fine, "must be 1 to 30 letters, digits or hyphens");
    });
  } else {
    check("tags", false, "must be a list");
  }
  return { note: { text, tags }, errors };
}
