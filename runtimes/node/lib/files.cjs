// Files that come with INIT, the function's secrets: written before any of its code is loaded, for itself alone.
'use strict';

const fs = require('fs');
const { dirname } = require('path');

// Leaves nothing of the contents in `files`.
module.exports = (files, die) => {
  for (const file of files.splice(0)) {
    const content = Buffer.from(file.content, 'base64');
    try {
      // Not the topmost: that is the host's to make.
      const folder = dirname(file.path);
      if (folder.split('/').length > 3) fs.mkdirSync(folder, { recursive: true, mode: 0o700 });
      fs.writeFileSync(file.path, content, { mode: 0o400, flag: 'wx' });
    } catch (e) {
      die(`a file of INIT could not be written: ${e.message}`);
    } finally {
      content.fill(0);
    }
  }
};
