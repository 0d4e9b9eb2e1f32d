exports.handler = () => "ignored: a handler that is not async answers through its callback";
