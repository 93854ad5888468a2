// Java's KafkaProducer, as a program would use it.

import com.sun.management.OperatingSystemMXBean;
import java.lang.management.ManagementFactory;
import java.nio.ByteBuffer;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.HashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Properties;
import java.util.concurrent.Callable;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.concurrent.locks.LockSupport;
import java.util.function.IntFunction;
import java.util.function.LongFunction;
import org.apache.kafka.clients.producer.Callback;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.Producer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.clients.producer.RecordMetadata;
import org.apache.kafka.common.serialization.ByteArraySerializer;

public final class Driver {
    private static final long TICK_NANOS = 1_000_000;
    private static final int MOST_SAMPLES = 100_000;
    /** Handles that are kept before all are asked. */
    private static final int KEPT = 4096;

    private static final Callback ACKNOWLEDGED = (metadata, error) -> {
        if (error != null) {
            fail(error.toString());
        }
    };

    private final Flags flags;
    private final Producer<byte[], byte[]> producer;
    private final LongFunction<ProducerRecord<byte[], byte[]>> record;

    public static void main(String[] arguments) throws Exception {
        Flags flags = new Flags(arguments);
        new Driver(flags).run();
    }

    private Driver(Flags flags) {
        this.flags = flags;
        Properties properties = new Properties();
        properties.put("bootstrap.servers", flags.text("bootstrap"));
        properties.put("acks", flags.text("acks"));
        properties.put("enable.idempotence", String.valueOf(flags.text("acks").equals("all")));
        properties.put("linger.ms", flags.text("linger-ms"));
        properties.put("batch.size", flags.text("batch-size"));
        properties.put("compression.type", flags.text("compression"));
        properties.put("buffer.memory", flags.text("buffer-bytes"));
        properties.put("max.request.size", "8388608");
        properties.putAll(flags.properties);
        producer = new KafkaProducer<>(properties, new ByteArraySerializer(), new ByteArraySerializer());

        byte[] value = new byte[(int) flags.number("size")];
        for (int i = 0; i < value.length; i++) {
            value[i] = (byte) (i * 31 + 7);
        }
        String[] topics = new String[(int) flags.number("topics")];
        Arrays.setAll(topics, i -> "bench-" + i);
        boolean keys = flags.keys;
        record = i -> {
            String topic = topics[(int) (i % topics.length)];
            byte[] key = keys ? ByteBuffer.allocate(8).putLong(i * 0x9E3779B97F4A7C15L).array() : null;
            return new ProducerRecord<>(topic, key, value);
        };
    }

    private void run() throws Exception {
        long records = flags.number("records");
        long warmupNanos = (long) (Double.parseDouble(flags.text("warmup-seconds")) * 1e9);
        long until = System.nanoTime() + warmupNanos;
        long warmup;
        Span span;
        long[] took = null;
        switch (flags.text("mode")) {
            case "throughput":
                warmup = sum(inThreads(thread -> () -> send(Long.MAX_VALUE, until, 0)));
                producer.flush();
                span = new Span();
                inThreads(thread -> () -> send(share(thread), Long.MAX_VALUE, thread * records));
                producer.flush();
                break;
            case "latency":
            case "fanin":
                warmup = sum(inThreads(thread -> () -> (long) sendAndWait(Long.MAX_VALUE, until).length));
                span = new Span();
                took = concat(inThreads(thread -> () -> sendAndWait(share(thread), Long.MAX_VALUE)));
                break;
            case "rate":
                warmup = (long) (flags.number("rate") * warmupNanos / 1e9);
                sendAtRate(warmup);
                span = new Span();
                took = sendAtRate(records);
                break;
            default:
                throw new IllegalArgumentException("there is no --mode " + flags.text("mode"));
        }
        span.end();
        System.out.printf(
                Locale.ROOT,
                "{\"driver\":\"java\",\"records\":%d,\"warmup_records\":%d,\"seconds\":%f,"
                        + "\"cpu_seconds\":%f,\"rss_kib\":%d,\"latency\":%s}%n",
                records, warmup, span.seconds, span.cpuSeconds, peakRss(), latency(took));
        producer.close();
    }

    /** Hands records over until there were so many, or it is too late; the clock is read once in a thousand. */
    private long send(long records, long until, long first) throws Exception {
        String variant = flags.text("variant");
        Callback callback = variant.equals("callback") ? ACKNOWLEDGED : null;
        List<Future<RecordMetadata>> kept = variant.equals("handles") ? new ArrayList<>(KEPT) : null;
        long sent = 0;
        while (sent < records && (sent % 1024 != 0 || System.nanoTime() < until)) {
            Future<RecordMetadata> handle = producer.send(record.apply(first + sent), callback);
            if (kept != null) {
                kept.add(handle);
                if (kept.size() == KEPT) {
                    getAll(kept);
                }
            }
            sent++;
        }
        if (kept != null) {
            getAll(kept);
        }
        return sent;
    }

    private static void getAll(List<Future<RecordMetadata>> kept) throws Exception {
        for (Future<RecordMetadata> handle : kept) {
            handle.get();
        }
        kept.clear();
    }

    private long[] sendAndWait(long records, long until) throws Exception {
        long[] took = new long[1024];
        int sent = 0;
        long begun = System.nanoTime();
        while (sent < records && begun < until) {
            producer.send(record.apply(sent)).get();
            long now = System.nanoTime();
            if (sent == took.length) {
                took = Arrays.copyOf(took, 2 * sent);
            }
            took[sent] = now - begun;
            sent++;
            begun = now;
        }
        return Arrays.copyOf(took, sent);
    }

    /** Hands over what is due once a millisecond. A record's time counts from when it was due. */
    private long[] sendAtRate(long records) {
        long rate = flags.number("rate");
        long every = (flags.number("records") + MOST_SAMPLES - 1) / MOST_SAMPLES;
        List<Long> took = new ArrayList<>(MOST_SAMPLES);
        long begun = System.nanoTime();
        long sent = 0;
        for (long tick = 1; sent < records; tick++) {
            long due = begun + tick * TICK_NANOS;
            while (System.nanoTime() < due) {
                LockSupport.parkNanos(due - System.nanoTime());
            }
            long target = Math.min(records, rate * tick / 1000);
            for (; sent < target; sent++) {
                Callback callback = ACKNOWLEDGED;
                if (sent % every == 0) {
                    callback = (metadata, error) -> {
                        ACKNOWLEDGED.onCompletion(metadata, error);
                        synchronized (took) {
                            took.add(System.nanoTime() - due);
                        }
                    };
                }
                producer.send(record.apply(sent), callback);
            }
        }
        producer.flush();
        synchronized (took) {
            return took.stream().mapToLong(Long::longValue).toArray();
        }
    }

    private <T> List<T> inThreads(IntFunction<Callable<T>> work) throws Exception {
        int threads = (int) flags.number("threads");
        if (threads == 1) {
            return List.of(work.apply(0).call());
        }
        ExecutorService pool = Executors.newFixedThreadPool(threads);
        List<Future<T>> running = new ArrayList<>();
        for (int thread = 0; thread < threads; thread++) {
            running.add(pool.submit(work.apply(thread)));
        }
        List<T> done = new ArrayList<>();
        for (Future<T> each : running) {
            done.add(each.get());
        }
        pool.shutdown();
        return done;
    }

    private long share(int thread) {
        long records = flags.number("records");
        long threads = flags.number("threads");
        return records / threads + (thread < records % threads ? 1 : 0);
    }

    private static long sum(List<Long> parts) {
        return parts.stream().mapToLong(Long::longValue).sum();
    }

    private static long[] concat(List<long[]> parts) {
        return parts.stream().flatMapToLong(Arrays::stream).toArray();
    }

    private static String latency(long[] took) {
        if (took == null || took.length == 0) {
            return "null";
        }
        Arrays.sort(took);
        return String.format(
                Locale.ROOT,
                "{\"samples\":%d,\"mean\":%f,\"p50\":%f,\"p90\":%f,\"p99\":%f,\"p999\":%f,\"max\":%f}",
                took.length, Arrays.stream(took).average().getAsDouble() / 1000,
                at(took, 0.5), at(took, 0.9), at(took, 0.99), at(took, 0.999), at(took, 1));
    }

    private static double at(long[] sorted, double share) {
        int rank = (int) Math.ceil(share * sorted.length);
        return sorted[Math.max(rank, 1) - 1] / 1000.0;
    }

    private static long peakRss() throws Exception {
        for (String line : Files.readAllLines(Path.of("/proc/self/status"))) {
            if (line.startsWith("VmHWM:")) {
                return Long.parseLong(line.replaceAll("[^0-9]", ""));
            }
        }
        return 0;
    }

    private static void fail(String reason) {
        System.err.println("java: " + reason);
        Runtime.getRuntime().halt(1);
    }

    private static final class Span {
        private static final OperatingSystemMXBean SYSTEM =
                (OperatingSystemMXBean) ManagementFactory.getOperatingSystemMXBean();

        private final long cpu = SYSTEM.getProcessCpuTime();
        private final long begun = System.nanoTime();
        private double seconds;
        private double cpuSeconds;

        void end() {
            seconds = (System.nanoTime() - begun) / 1e9;
            cpuSeconds = (SYSTEM.getProcessCpuTime() - cpu) / 1e9;
        }
    }

    private static final class Flags {
        private final Map<String, String> values = new HashMap<>(Map.ofEntries(
                Map.entry("bootstrap", "127.0.0.1:9092"), Map.entry("records", "1000000"), Map.entry("size", "100"),
                Map.entry("batch-size", "16384"), Map.entry("linger-ms", "5"), Map.entry("topics", "1"),
                Map.entry("partitions", "6"), Map.entry("acks", "all"), Map.entry("threads", "1"),
                Map.entry("mode", "throughput"), Map.entry("variant", "plain"), Map.entry("rate", "100000"),
                Map.entry("buffer-bytes", "33554432"), Map.entry("warmup-seconds", "0.2"),
                Map.entry("compression", "none")));
        private final Map<String, String> properties = new HashMap<>();
        private boolean keys;

        Flags(String[] arguments) {
            for (int i = 0; i < arguments.length; i++) {
                String name = arguments[i].replaceFirst("^--", "");
                if (name.equals("keys")) {
                    keys = true;
                } else if (name.equals("property")) {
                    String[] property = arguments[++i].split("=", 2);
                    properties.put(property[0], property[1]);
                } else if (values.containsKey(name)) {
                    values.put(name, arguments[++i]);
                } else {
                    throw new IllegalArgumentException("unknown flag " + arguments[i]);
                }
            }
        }

        String text(String name) {
            return values.get(name);
        }

        long number(String name) {
            return Long.parseLong(values.get(name));
        }
    }
}
