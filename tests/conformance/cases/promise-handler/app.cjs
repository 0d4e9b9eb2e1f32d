exports.handler = () => Promise.resolve({ kept: true });
