'use strict';

const express = require('express');
const fs = require('node:fs');
const os = require('node:os');
const path = require('node:path');

const app = express();
const log = path.join(__dirname, 'data', 'visits');

app.get('/', (request, response) => {
  fs.appendFileSync(log, `${new Date().toISOString()} ${request.ip}\n`);
  response.json({ message: 'hello', user: os.userInfo().uid, visits: fs.readFileSync(log, 'utf8').split('\n').length - 1 });
});

app.get('/health', (request, response) => response.send('ok'));

const server = app.listen(Number(process.env.PORT), '127.0.0.1');
for (const signal of ['SIGINT', 'SIGTERM']) {
  process.on(signal, () => server.close(() => process.exit(0)));
}
