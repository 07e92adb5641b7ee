export { type ChannelLogHarness, channelLogSuite } from "./channel-log.suite.ts";
export { FakeSocket } from "./fake-socket.ts";
export { TestLiveServer, type TestLiveServerOptions } from "./test-live-server.ts";
