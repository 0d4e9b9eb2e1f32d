exports.handler = async () => {};
function function
