export const handler = async () => "from src";
