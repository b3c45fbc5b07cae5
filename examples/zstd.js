// The content of a frame of Zstandard (RFC 8878), which has to tell its size first, as docs/protocol.md asks.
const zlib = require('zlib');
const MAX_CONTENT = 1 << 17;

// Return it; throw if the frame tells no size or one that is too large, or is damaged.
exports.unpack = (frame) => {
  const told = frame[4], alone = told >> 5 & 1; // frame header descriptor; single segment: no window descriptor
  const at = 6 - alone + [0, 1, 2, 4][told & 3], bytes = [alone, 2, 4, 8][told >> 6];
  if (!bytes) throw new Error('a zstd frame that does not tell its size');
  const size = bytes === 8 ? Number(frame.readBigUInt64LE(at)) : frame.readUIntLE(at, bytes) + (bytes === 2 ? 256 : 0);
  if (size > MAX_CONTENT) throw new Error(`a zstd frame of ${size} bytes is too large`);
  const content = zlib.zstdDecompressSync // from Node 22.15 on
    ? zlib.zstdDecompressSync(frame, {maxOutputLength: MAX_CONTENT})
    : Buffer.from(require('fzstd').decompress(frame));
  if (content.length !== size) throw new Error(`a zstd frame of ${content.length} bytes that tells ${size}`);
  return content;
};
