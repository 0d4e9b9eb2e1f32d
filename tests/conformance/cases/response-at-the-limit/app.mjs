export const handler = async () => "x".repeat(6291556 - 2);
