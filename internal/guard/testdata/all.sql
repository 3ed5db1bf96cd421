--
-- PostgreSQL database cluster dump
--

\restrict aehmtOdOl7lfgHRANSwnec40iCM9WM7Vh9zJ2qXfq5q3hie6wXg48sihQVMh6sf

SET default_transaction_read_only = off;

SET client_encoding = 'UTF8';
SET standard_conforming_strings = on;

--
-- Roles
--

CREATE ROLE takumi;
ALTER ROLE takumi WITH SUPERUSER INHERIT CREATEROLE CREATEDB LOGIN REPLICATION BYPASSRLS;

--
-- User Configurations
--








\unrestrict aehmtOdOl7lfgHRANSwnec40iCM9WM7Vh9zJ2qXfq5q3hie6wXg48sihQVMh6sf

--
-- Databases
--

--
-- Database "template1" dump
--

\connect template1

--
-- PostgreSQL database dump
--

\restrict 89i29V8svd5uqmrYDOp68xFJib31BrLmT6MLgxVMVe9Z2Aj3QahSEbSe6Hiv1hV

-- Dumped from database version 15.18 (Debian 15.18-0+deb12u1)
-- Dumped by pg_dump version 15.18 (Debian 15.18-0+deb12u1)

SET statement_timeout = 0;
SET lock_timeout = 0;
SET idle_in_transaction_session_timeout = 0;
SET client_encoding = 'UTF8';
SET standard_conforming_strings = on;
SELECT pg_catalog.set_config('search_path', '', false);
SET check_function_bodies = false;
SET xmloption = content;
SET client_min_messages = warning;
SET row_security = off;

--
-- PostgreSQL database dump complete
--

\unrestrict 89i29V8svd5uqmrYDOp68xFJib31BrLmT6MLgxVMVe9Z2Aj3QahSEbSe6Hiv1hV

--
-- Database "postgres" dump
--

\connect postgres

--
-- PostgreSQL database dump
--

\restrict YpPZ6a8S6H18mwCuUxhRQXznLUI22yAIESOvVw0SfKqm2ZHy8TkHsqbAxNQUkeW

-- Dumped from database version 15.18 (Debian 15.18-0+deb12u1)
-- Dumped by pg_dump version 15.18 (Debian 15.18-0+deb12u1)

SET statement_timeout = 0;
SET lock_timeout = 0;
SET idle_in_transaction_session_timeout = 0;
SET client_encoding = 'UTF8';
SET standard_conforming_strings = on;
SELECT pg_catalog.set_config('search_path', '', false);
SET check_function_bodies = false;
SET xmloption = content;
SET client_min_messages = warning;
SET row_security = off;

--
-- PostgreSQL database dump complete
--

\unrestrict YpPZ6a8S6H18mwCuUxhRQXznLUI22yAIESOvVw0SfKqm2ZHy8TkHsqbAxNQUkeW

--
-- Database "small" dump
--

--
-- PostgreSQL database dump
--

\restrict Uchye7r291npoqycoiqIYB2OpFKiT944fw05aUaTh8yxaIhM0X0QJwoYCtR6Flj

-- Dumped from database version 15.18 (Debian 15.18-0+deb12u1)
-- Dumped by pg_dump version 15.18 (Debian 15.18-0+deb12u1)

SET statement_timeout = 0;
SET lock_timeout = 0;
SET idle_in_transaction_session_timeout = 0;
SET client_encoding = 'UTF8';
SET standard_conforming_strings = on;
SELECT pg_catalog.set_config('search_path', '', false);
SET check_function_bodies = false;
SET xmloption = content;
SET client_min_messages = warning;
SET row_security = off;

--
-- Name: small; Type: DATABASE; Schema: -; Owner: takumi
--

CREATE DATABASE small WITH TEMPLATE = template0 ENCODING = 'UTF8' LOCALE_PROVIDER = libc LOCALE = 'C';


ALTER DATABASE small OWNER TO takumi;

\unrestrict Uchye7r291npoqycoiqIYB2OpFKiT944fw05aUaTh8yxaIhM0X0QJwoYCtR6Flj
\connect small
\restrict Uchye7r291npoqycoiqIYB2OpFKiT944fw05aUaTh8yxaIhM0X0QJwoYCtR6Flj

SET statement_timeout = 0;
SET lock_timeout = 0;
SET idle_in_transaction_session_timeout = 0;
SET client_encoding = 'UTF8';
SET standard_conforming_strings = on;
SELECT pg_catalog.set_config('search_path', '', false);
SET check_function_bodies = false;
SET xmloption = content;
SET client_min_messages = warning;
SET row_security = off;

SET default_tablespace = '';

SET default_table_access_method = heap;

--
-- Name: e; Type: TABLE; Schema: public; Owner: takumi
--

CREATE TABLE public.e (
    id integer
);


ALTER TABLE public.e OWNER TO takumi;

--
-- Name: t; Type: TABLE; Schema: public; Owner: takumi
--

CREATE TABLE public.t (
    id integer NOT NULL,
    note text
);


ALTER TABLE public.t OWNER TO takumi;

--
-- Name: 4000000001; Type: BLOB; Schema: -; Owner: takumi
--

SELECT pg_catalog.lo_create('4000000001');


ALTER LARGE OBJECT 4000000001 OWNER TO takumi;

--
-- Data for Name: e; Type: TABLE DATA; Schema: public; Owner: takumi
--

COPY public.e (id) FROM stdin;
\.


--
-- Data for Name: t; Type: TABLE DATA; Schema: public; Owner: takumi
--

COPY public.t (id, note) FROM stdin;
1	one
2	two\nlines
\.


--
-- Data for Name: BLOBS; Type: BLOBS; Schema: -; Owner: -
--

BEGIN;

SELECT pg_catalog.lo_open('4000000001', 131072);
SELECT pg_catalog.lowrite(0, '\x68656c6c6f');
SELECT pg_catalog.lo_close(0);

COMMIT;

--
-- Name: t t_pkey; Type: CONSTRAINT; Schema: public; Owner: takumi
--

ALTER TABLE ONLY public.t
    ADD CONSTRAINT t_pkey PRIMARY KEY (id);


--
-- PostgreSQL database dump complete
--

\unrestrict Uchye7r291npoqycoiqIYB2OpFKiT944fw05aUaTh8yxaIhM0X0QJwoYCtR6Flj

--
-- PostgreSQL database cluster dump complete
--

