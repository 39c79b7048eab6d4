// This file is the acknowledged-write log: fixed records, each made durable before the next, and the check of what is left.

package agent

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"path"
)

// RecordSize is the size of a record in bytes: one sector.
const RecordSize = 512

// MaxRecords is how many records a file of the log holds: 64 MiB.
const MaxRecords = 64 << 20 / RecordSize

const (
	recordMagic = "APDLOG01"
	maxInstance = 64
	crcAt       = RecordSize - 4
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Record is one record of the log. Within a file Seq counts from 1 without a gap: record n stands at (n-1)*RecordSize.
type Record struct {
	Instance string // the agent that wrote it, at most 64 bytes
	Writer   int
	Seq      uint64
	T        int64 // the guest's monotonic clock, ns
}

// LogName is the name of a writer's file number part, counted from 0. Instances hold letters, digits and dashes.
func LogName(dir, instance string, writer, part int) string {
	name := fmt.Sprintf("acklog-%s-%d", instance, writer)
	if part > 0 {
		name += fmt.Sprintf(".%d", part)
	}
	return path.Join(dir, name)
}

// Encode writes the record into b, which has RecordSize bytes. All of b depends on the record, so that no part of it can
// be lost unseen.
func (r Record) Encode(b []byte) {
	b = b[:RecordSize]
	clear(b)
	copy(b, recordMagic)
	binary.LittleEndian.PutUint64(b[8:], r.Seq)
	binary.LittleEndian.PutUint64(b[16:], uint64(r.T))
	binary.LittleEndian.PutUint32(b[24:], uint32(r.Writer))
	n := copy(b[32:32+maxInstance], r.Instance)
	b[28] = byte(n)
	x := r.Seq*0x9E3779B97F4A7C15 + uint64(r.T)
	for i := 32 + maxInstance; i+8 <= crcAt; i += 8 {
		x ^= x << 13
		x ^= x >> 7
		x ^= x << 17
		binary.LittleEndian.PutUint64(b[i:], x)
	}
	binary.LittleEndian.PutUint32(b[crcAt:], crc32.Checksum(b[:crcAt], castagnoli))
}

// ErrRecord is a record that is not as it was written.
var ErrRecord = errors.New("the record is damaged")

// DecodeRecord reads a record from b, which has RecordSize bytes. Its error is ErrRecord.
func DecodeRecord(b []byte) (Record, error) {
	if len(b) != RecordSize || string(b[:8]) != recordMagic ||
		crc32.Checksum(b[:crcAt], castagnoli) != binary.LittleEndian.Uint32(b[crcAt:]) || b[28] > maxInstance {
		return Record{}, ErrRecord
	}
	return Record{
		Instance: string(b[32 : 32+int(b[28])]),
		Writer:   int(int32(binary.LittleEndian.Uint32(b[24:]))),
		Seq:      binary.LittleEndian.Uint64(b[8:]),
		T:        int64(binary.LittleEndian.Uint64(b[16:])),
	}, nil
}

// FileResult is what is left of one file of the log. Only acknowledged records count: a write that was cut off before its
// acknowledgement may be whole, torn or absent.
type FileResult struct {
	Path     string `json:"path"`
	Acked    uint64 `json:"acked"`
	Found    uint64 `json:"found"`           // acknowledged records that are there, whole and in their place
	Last     uint64 `json:"last"`            // the highest sequence number seen, acknowledged or not
	Missing  uint64 `json:"missing"`         // acknowledged records behind the unbroken run from the first: Acked - run
	Corrupt  uint64 `json:"corrupt"`         // places of acknowledged records that hold no whole record
	Disorder uint64 `json:"disorder"`        // places of acknowledged records that hold another record
	Error    string `json:"error,omitempty"` // why it could not be read to the end; then the numbers say nothing
}

// CheckLog reads a file of the log from its beginning. Its error is r's own.
func CheckLog(r io.Reader, f LogFile) (FileResult, error) {
	res := FileResult{Path: f.Path, Acked: f.Acked}
	var run uint64
	buf := make([]byte, RecordSize)
	for place := uint64(1); ; place++ {
		n, err := io.ReadFull(r, buf)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) {
			return res, err
		}
		rec, bad := DecodeRecord(buf[:n])
		mine := bad == nil && rec.Instance == f.Instance && rec.Writer == f.Writer
		switch {
		case mine && rec.Seq == place:
			if place <= f.Acked {
				res.Found++
			}
			if run == place-1 {
				run = place
			}
		case place > f.Acked:
		case mine:
			res.Disorder++
		default:
			res.Corrupt++
		}
		if mine {
			res.Last = max(res.Last, rec.Seq)
		}
		if err != nil {
			break
		}
	}
	res.Missing = f.Acked - min(run, f.Acked)
	return res, nil
}
