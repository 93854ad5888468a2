// franz-go, as a program would use it: Produce with a promise for each record, which is its only way.
package main

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

var (
	bootstrap   = flag.String("bootstrap", "127.0.0.1:9092", "the sink")
	records     = flag.Uint64("records", 1_000_000, "records that are measured")
	size        = flag.Int("size", 100, "bytes of a value")
	batchSize   = flag.Int("batch-size", 16_384, "what comes closest to batch.size")
	lingerMs    = flag.Int("linger-ms", 5, "")
	compression = flag.String("compression", "none", "none, gzip, snappy, lz4 or zstd")
	topics      = flag.Uint64("topics", 1, "topics, written to in turn")
	partitions  = flag.Int("partitions", 6, "partitions of each topic")
	acks        = flag.String("acks", "all", "all, 1 or 0")
	threads     = flag.Int("threads", 1, "goroutines that send")
	keys        = flag.Bool("keys", false, "give each record a key of eight bytes, which chooses its partition")
	mode        = flag.String("mode", "throughput", "throughput, latency, fanin or rate")
	variant     = flag.String("variant", "plain", "plain or callback, which are one here")
	rate        = flag.Uint64("rate", 100_000, "with --mode rate: records a second")
	bufferBytes = flag.Int("buffer-bytes", 32<<20, "what comes closest to buffer.memory")
	warmup      = flag.Float64("warmup-seconds", 0.2, "do the same for so long before it is measured")
)

// What all drivers print; latencies are in microseconds.
type report struct {
	Driver        string   `json:"driver"`
	Version       string   `json:"version"`
	Records       uint64   `json:"records"`
	WarmupRecords uint64   `json:"warmup_records"`
	Seconds       float64  `json:"seconds"`
	CPUSeconds    float64  `json:"cpu_seconds"`
	Switches      uint64   `json:"switches"`
	RSSKiB        uint64   `json:"rss_kib"`
	Latency       *latency `json:"latency"`
}

type latency struct {
	Samples uint64  `json:"samples"`
	Mean    float64 `json:"mean"`
	P50     float64 `json:"p50"`
	P90     float64 `json:"p90"`
	P99     float64 `json:"p99"`
	P999    float64 `json:"p999"`
	Max     float64 `json:"max"`
}

type span struct {
	begun    time.Time
	cpu      float64
	switches uint64
}

const (
	tick        = time.Millisecond
	mostSamples = 100_000
)

func main() {
	flag.Parse()
	client := connect()
	value := make([]byte, *size)
	for i := range value {
		value[i] = byte(i*31 + 7)
	}
	names := make([]string, *topics)
	for i := range names {
		names[i] = "bench-" + strconv.Itoa(i)
	}
	record := func(i uint64) *kgo.Record {
		r := &kgo.Record{Topic: names[i%*topics], Value: value}
		if *keys {
			r.Key = binary.BigEndian.AppendUint64(nil, i*0x9E37_79B9_7F4A_7C15)
		}
		return r
	}

	out := report{Driver: "franz-go", Version: version(), Records: *records}
	var begun span
	switch *mode {
	case "throughput":
		out.WarmupRecords = inThreads(func(int) uint64 { return produce(client, record, ^uint64(0), deadline(), 0) })
		flush(client)
		begun = begin()
		inThreads(func(thread int) uint64 {
			return produce(client, record, share(thread), time.Time{}, uint64(thread)**records)
		})
		flush(client)
	case "latency", "fanin":
		took := make([][]int64, *threads)
		work := func(records func(int) uint64, until time.Time) uint64 {
			return inThreads(func(thread int) uint64 {
				took[thread] = produceAndWait(client, record, records(thread), until)
				return uint64(len(took[thread]))
			})
		}
		out.WarmupRecords = work(func(int) uint64 { return ^uint64(0) }, deadline())
		begun = begin()
		work(share, time.Time{})
		out.Latency = latencyOf(slices.Concat(took...))
	case "rate":
		out.WarmupRecords = uint64(float64(*rate) * *warmup)
		produceAtRate(client, record, out.WarmupRecords)
		begun = begin()
		out.Latency = latencyOf(produceAtRate(client, record, *records))
	default:
		fail("there is no --mode " + *mode)
	}
	begun.end(&out)
	out.RSSKiB = peakRSS()
	line, err := json.Marshal(out)
	must(err)
	fmt.Println(string(line))
	client.Close()
}

func connect() *kgo.Client {
	options := []kgo.Opt{
		kgo.SeedBrokers(*bootstrap),
		kgo.ProducerBatchCompression(codec()),
		kgo.ProducerBatchMaxBytes(int32(*batchSize)),
		kgo.BrokerMaxWriteBytes(100 << 20),
		kgo.ProducerLinger(time.Duration(*lingerMs) * time.Millisecond),
		// Only bytes shall bound the buffer, as everywhere else.
		kgo.MaxBufferedBytes(*bufferBytes),
		kgo.MaxBufferedRecords(10_000_000),
	}
	switch *acks {
	case "all":
	case "1":
		options = append(options, kgo.RequiredAcks(kgo.LeaderAck()), kgo.DisableIdempotentWrite())
	case "0":
		options = append(options, kgo.RequiredAcks(kgo.NoAck()), kgo.DisableIdempotentWrite())
	default:
		fail("there is no --acks " + *acks)
	}
	client, err := kgo.NewClient(options...)
	must(err)
	return client
}

func codec() kgo.CompressionCodec {
	switch *compression {
	case "none":
		return kgo.NoCompression()
	case "gzip":
		return kgo.GzipCompression()
	case "snappy":
		return kgo.SnappyCompression()
	case "lz4":
		return kgo.Lz4Compression()
	case "zstd":
		return kgo.ZstdCompression()
	}
	fail("there is no --compression " + *compression)
	return kgo.NoCompression()
}

func acknowledged(_ *kgo.Record, err error) { must(err) }

// Hands records over until there were so many, or it is too late; the clock is read once in a thousand.
func produce(client *kgo.Client, record func(uint64) *kgo.Record, records uint64, until time.Time, first uint64) uint64 {
	ctx := context.Background()
	sent := uint64(0)
	for sent < records {
		if sent%1024 == 0 && !until.IsZero() && time.Now().After(until) {
			break
		}
		client.Produce(ctx, record(first+sent), acknowledged)
		sent++
	}
	return sent
}

func produceAndWait(client *kgo.Client, record func(uint64) *kgo.Record, most uint64, until time.Time) []int64 {
	ctx := context.Background()
	took := make([]int64, 0, min(most, *records))
	begun := time.Now()
	for uint64(len(took)) < most && (until.IsZero() || begun.Before(until)) {
		must(client.ProduceSync(ctx, record(uint64(len(took)))).FirstErr())
		now := time.Now()
		took = append(took, now.Sub(begun).Nanoseconds())
		begun = now
	}
	return took
}

// Hands over what is due once a millisecond. A record's time counts from when it was due.
func produceAtRate(client *kgo.Client, record func(uint64) *kgo.Record, most uint64) []int64 {
	ctx := context.Background()
	every := (*records + mostSamples - 1) / mostSamples
	var lock sync.Mutex
	took := make([]int64, 0, mostSamples)
	begun := time.Now()
	sent := uint64(0)
	for i := 1; sent < most; i++ {
		due := begun.Add(time.Duration(i) * tick)
		time.Sleep(time.Until(due))
		target := min(most, uint64(float64(*rate)*tick.Seconds()*float64(i)))
		for ; sent < target; sent++ {
			promise := acknowledged
			if sent%every == 0 {
				promise = func(_ *kgo.Record, err error) {
					must(err)
					lock.Lock()
					took = append(took, time.Since(due).Nanoseconds())
					lock.Unlock()
				}
			}
			client.Produce(ctx, record(sent), promise)
		}
	}
	flush(client)
	lock.Lock()
	defer lock.Unlock()
	return took
}

func flush(client *kgo.Client) { must(client.Flush(context.Background())) }

func inThreads(work func(int) uint64) uint64 {
	if *threads == 1 {
		return work(0)
	}
	var wait sync.WaitGroup
	done := make([]uint64, *threads)
	for thread := range *threads {
		wait.Add(1)
		go func() {
			defer wait.Done()
			done[thread] = work(thread)
		}()
	}
	wait.Wait()
	sum := uint64(0)
	for _, records := range done {
		sum += records
	}
	return sum
}

func share(thread int) uint64 {
	threads, thread64 := uint64(*threads), uint64(thread)
	if thread64 < *records%threads {
		return *records/threads + 1
	}
	return *records / threads
}

func deadline() time.Time { return time.Now().Add(time.Duration(*warmup * float64(time.Second))) }

func begin() span {
	cpu, switches := usage()
	return span{time.Now(), cpu, switches}
}

func (s span) end(out *report) {
	out.Seconds = time.Since(s.begun).Seconds()
	cpu, switches := usage()
	out.CPUSeconds, out.Switches = cpu-s.cpu, switches-s.switches
}

func usage() (cpu float64, switches uint64) {
	var usage syscall.Rusage
	must(syscall.Getrusage(syscall.RUSAGE_SELF, &usage))
	seconds := func(t syscall.Timeval) float64 { return float64(t.Sec) + float64(t.Usec)/1e6 }
	return seconds(usage.Utime) + seconds(usage.Stime), uint64(usage.Nvcsw + usage.Nivcsw)
}

func peakRSS() uint64 {
	status, err := os.ReadFile("/proc/self/status")
	must(err)
	for line := range strings.Lines(string(status)) {
		if rest, ok := strings.CutPrefix(line, "VmHWM:"); ok {
			kib, err := strconv.ParseUint(strings.Fields(rest)[0], 10, 64)
			must(err)
			return kib
		}
	}
	return 0
}

func latencyOf(took []int64) *latency {
	if len(took) == 0 {
		return nil
	}
	slices.Sort(took)
	at := func(share float64) float64 {
		rank := int(share*float64(len(took)) + 0.999999)
		return float64(took[min(max(rank, 1), len(took))-1]) / 1000
	}
	sum := int64(0)
	for _, each := range took {
		sum += each
	}
	mean := float64(sum) / float64(len(took)) / 1000
	return &latency{uint64(len(took)), mean, at(0.5), at(0.9), at(0.99), at(0.999), at(1)}
}

func version() string {
	info, ok := debug.ReadBuildInfo()
	if ok {
		for _, module := range info.Deps {
			if module.Path == "github.com/twmb/franz-go" {
				return strings.TrimPrefix(module.Version, "v")
			}
		}
	}
	return ""
}

func must(err error) {
	if err != nil {
		fail(err.Error())
	}
}

func fail(reason string) {
	fmt.Fprintln(os.Stderr, "franz-go:", reason)
	os.Exit(1)
}
