export const handler = async (event) => {
  console.log(event.rtl, event.astral, "🦀");
  return { event, characters: [...event.astral].length };
};
